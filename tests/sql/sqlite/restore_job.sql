-- Put a StoredJob into the hot table, behind those that are there.
INSERT INTO depqueue_job (created_at, claimed_at, expires_at, run_at, queue_id, attempt,
    max_attempts, rank, flags, job_id, meta, envelope, body) VALUES (:p_created_at, :p_claimed_at,
    :p_expires_at, :p_run_at, :p_queue_id, :p_attempt, :p_max_attempts, :p_rank, :p_flags,
    :p_job_id, :p_meta, :p_envelope, :p_body)
