-- Let a held job be running in nobody's hands.
UPDATE depqueue.job SET consumer_id=0, lease_token=0, flags=(depqueue.job.flags | 16)
    WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER AND depqueue.job.rank = %(p_rank)s::SMALLINT
    AND depqueue.job.seq = %(p_seq)s::BIGINT AND depqueue.job.lease_token = %(p_token)s::BIGINT
