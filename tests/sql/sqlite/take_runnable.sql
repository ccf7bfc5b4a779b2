-- Take unblocked jobs that are not delayed as well.
DELETE FROM depqueue_wait WHERE depqueue_wait.job_id IN (SELECT value FROM json_each(:ids))
    AND (depqueue_wait.run_at IS NULL
    OR depqueue_wait.run_at <= CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))
    RETURNING job_id, queue_id, rank, attempt, max_attempts, flags, created_at, claimed_at,
    expires_at, run_at, meta, envelope, body, seq
