-- Enqueue a delayed job (p_delay seconds or p_due) or a blocked one (neither).
INSERT INTO depqueue_wait (due_at, run_at, created_at, expires_at, queue_id, attempt, max_attempts,
    rank, flags, job_id, envelope,
    body) VALUES (CASE WHEN :p_blocked THEN NULL ELSE coalesce((CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(:p_delay * 1000000 AS INTEGER)),
    :p_due) END,
    coalesce((CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(:p_delay * 1000000 AS INTEGER)),
    :p_run_at), CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER),
    (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(:p_expires_in * 1000000 AS INTEGER)),
    :p_queue_id, :p_attempt, :p_max_attempts, :p_rank, :p_flags, :p_job_id, :p_envelope, :p_body)
