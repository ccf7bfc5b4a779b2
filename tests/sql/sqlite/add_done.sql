-- Record how a job ended.
INSERT INTO depqueue_done (job_id, queue_id, status, flags, attempt, created_at, started_at,
    finished_at, keep_until, reason, result, meta) VALUES (:p_job_id, :p_queue_id, :p_status,
    :p_flags, :p_attempt, :p_created_at, :p_started_at,
    CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER),
    (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(:p_keep * 1000000 AS INTEGER)),
    :p_reason, :p_result, :p_meta) ON CONFLICT (job_id) DO UPDATE SET queue_id = excluded.queue_id,
    status = excluded.status, flags = excluded.flags, attempt = excluded.attempt,
    created_at = excluded.created_at, started_at = excluded.started_at,
    finished_at = excluded.finished_at, keep_until = excluded.keep_until, reason = excluded.reason,
    result = excluded.result, meta = excluded.meta
