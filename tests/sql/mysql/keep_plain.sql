-- Record the success of jobs held under one token that nobody depends on ...
INSERT INTO depqueue_done (job_id, queue_id, flags, attempt, created_at, status, started_at,
    finished_at, keep_until, result) SELECT depqueue_job.job_id AS job_id,
    depqueue_job.queue_id AS queue_id, depqueue_job.flags AS flags, depqueue_job.attempt AS attempt,
    depqueue_job.created_at AS created_at, 1 AS status, depqueue_job.claimed_at AS started_at,
    TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) AS finished_at,
    (TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) + CAST(%(p_keep)s * 1000000 AS SIGNED)) AS keep_until, %(p_result)s AS result
FROM depqueue_job
WHERE depqueue_job.seq IN %(seqs)s AND depqueue_job.lease_token = %(p_token)s AND (flags & 2) = 0
    AND depqueue_job.job_id IS NOT NULL
