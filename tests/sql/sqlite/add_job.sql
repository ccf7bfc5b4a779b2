-- Enqueue a ready job.
INSERT INTO depqueue_job (created_at, expires_at, run_at, queue_id, attempt, max_attempts, rank,
    flags, job_id, envelope,
    body) VALUES (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER),
    (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(:p_expires_in * 1000000 AS INTEGER)),
    :p_run_at, :p_queue_id, :p_attempt, :p_max_attempts, :p_rank, :p_flags, :p_job_id, :p_envelope,
    :p_body)
