-- Make a held job ready again at its old place, unless its attempts are used up.
UPDATE depqueue.job SET consumer_id=%(consumer_id)s::BIGINT, lease_token=%(lease_token)s::BIGINT,
    flags=(depqueue.job.flags | 8) WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER
    AND depqueue.job.rank = %(p_rank)s::SMALLINT AND depqueue.job.seq = %(p_seq)s::BIGINT
    AND depqueue.job.lease_token = %(p_token)s::BIGINT AND (depqueue.job.max_attempts = 0
    OR depqueue.job.attempt < depqueue.job.max_attempts) RETURNING depqueue.job.queue_id
