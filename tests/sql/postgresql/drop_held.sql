-- ... and take it out of the hot table.
DELETE FROM depqueue.job WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER
    AND depqueue.job.rank = %(p_rank)s::SMALLINT AND depqueue.job.seq = %(p_seq)s::BIGINT
    AND depqueue.job.lease_token = %(p_token)s::BIGINT
