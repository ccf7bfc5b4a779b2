-- Make held jobs ready again at their old places, unless their attempts are used up.
UPDATE depqueue_job SET consumer_id=:consumer_id, lease_token=:lease_token,
    flags=(depqueue_job.flags | 8) WHERE depqueue_job.queue_id IN (SELECT value
    FROM json_each(:queues)) AND depqueue_job.rank IN (SELECT value FROM json_each(:ranks))
    AND depqueue_job.seq IN (SELECT value FROM json_each(:seqs))
    AND depqueue_job.lease_token - depqueue_job.seq IN (SELECT value FROM json_each(:differences))
    AND (depqueue_job.max_attempts = 0 OR depqueue_job.attempt < depqueue_job.max_attempts)
    RETURNING seq
