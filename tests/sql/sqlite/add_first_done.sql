-- The same of a job that has never been anywhere.
INSERT INTO depqueue_done (job_id, queue_id, status, flags, attempt, created_at, started_at,
    finished_at, keep_until, reason, result, meta) VALUES (:p_job_id, :p_queue_id, :p_status,
    :p_flags, :p_attempt, :p_created_at, :p_started_at,
    CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER),
    (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(:p_keep * 1000000 AS INTEGER)),
    :p_reason, :p_result, :p_meta)
