-- Record the success of jobs held under one token that nobody depends on ...
INSERT INTO depqueue_done (job_id, queue_id, flags, attempt, created_at, status, started_at,
    finished_at, keep_until, result) SELECT depqueue_job.job_id AS job_id,
    depqueue_job.queue_id AS queue_id, depqueue_job.flags AS flags, depqueue_job.attempt AS attempt,
    depqueue_job.created_at AS created_at, 1 AS status, depqueue_job.claimed_at AS started_at,
    CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) AS finished_at,
    (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(:p_keep * 1000000 AS INTEGER)) AS keep_until,
    :p_result AS result
FROM depqueue_job
WHERE depqueue_job.seq IN (SELECT value FROM json_each(:seqs))
    AND depqueue_job.lease_token = :p_token AND (flags & 2) = 0 AND depqueue_job.job_id IS NOT NULL
