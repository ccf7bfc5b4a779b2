-- Held jobs were acked before their outcome is known: they are never to be handed out again.
UPDATE depqueue_job FORCE INDEX (PRIMARY) SET flags=(depqueue_job.flags | 16)
    WHERE depqueue_job.queue_id IN %(queues)s AND depqueue_job.`rank` IN %(ranks)s
    AND depqueue_job.seq IN %(seqs)s
    AND depqueue_job.lease_token - depqueue_job.seq IN %(differences)s
    AND depqueue_job.consumer_id IS NOT NULL
