-- Held jobs were acked before their outcome is known: they are never to be handed out again.
UPDATE depqueue_job SET flags=(depqueue_job.flags | 16) WHERE depqueue_job.queue_id IN (SELECT value
    FROM json_each(:queues)) AND depqueue_job.rank IN (SELECT value FROM json_each(:ranks))
    AND depqueue_job.seq IN (SELECT value FROM json_each(:seqs))
    AND depqueue_job.lease_token - depqueue_job.seq IN (SELECT value FROM json_each(:differences))
    AND depqueue_job.consumer_id IS NOT NULL
