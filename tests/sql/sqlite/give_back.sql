-- Make a held job ready again at its old place, unless its attempts are used up.
UPDATE depqueue_job SET consumer_id=:consumer_id, lease_token=:lease_token,
    flags=(depqueue_job.flags | 8) WHERE depqueue_job.queue_id = :p_queue
    AND depqueue_job.rank = :p_rank AND depqueue_job.seq = :p_seq
    AND depqueue_job.lease_token = :p_token AND (depqueue_job.max_attempts = 0
    OR depqueue_job.attempt < depqueue_job.max_attempts) RETURNING queue_id
