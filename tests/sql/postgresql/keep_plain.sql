-- Record the success of jobs held under one token that nobody depends on ...
INSERT INTO depqueue.done (job_id, queue_id, flags, attempt, created_at, status, started_at,
    finished_at, keep_until, result) SELECT depqueue.job.job_id AS job_id,
    depqueue.job.queue_id AS queue_id, depqueue.job.flags AS flags, depqueue.job.attempt AS attempt,
    depqueue.job.created_at AS created_at, 1 AS status, depqueue.job.claimed_at AS started_at,
    statement_timestamp() AS finished_at,
    (statement_timestamp() + make_interval(secs => %(p_keep)s)) AS keep_until,
    %(p_result)s AS result
FROM depqueue.job
WHERE depqueue.job.seq = ANY (%(seqs)s::BIGINT[]) AND depqueue.job.lease_token = %(p_token)s::BIGINT
    AND (flags & 2) = 0 AND depqueue.job.job_id IS NOT NULL
