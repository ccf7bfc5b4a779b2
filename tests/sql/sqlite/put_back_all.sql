-- The same for jobs that nobody has seen: as if they had not been claimed.
UPDATE depqueue_job SET consumer_id=:consumer_id, lease_token=:lease_token,
    attempt=(depqueue_job.attempt - 1) WHERE depqueue_job.queue_id IN (SELECT value
    FROM json_each(:queues)) AND depqueue_job.rank IN (SELECT value FROM json_each(:ranks))
    AND depqueue_job.seq IN (SELECT value FROM json_each(:seqs))
    AND depqueue_job.lease_token - depqueue_job.seq IN (SELECT value FROM json_each(:differences))
    RETURNING seq
