-- Put a StoredJob into the cold table: due at p_due, or in p_delay seconds, or blocked.
INSERT INTO depqueue_wait (due_at, run_at, claimed_at, created_at, expires_at, queue_id, attempt,
    max_attempts, rank, flags, job_id, meta, envelope,
    body) VALUES (coalesce((CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(:p_delay * 1000000 AS INTEGER)),
    :p_due), :p_run_at, :p_claimed_at, :p_created_at, :p_expires_at, :p_queue_id, :p_attempt,
    :p_max_attempts, :p_rank, :p_flags, :p_job_id, :p_meta, :p_envelope, :p_body)
