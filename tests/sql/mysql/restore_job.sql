-- Put a StoredJob into the hot table, behind those that are there.
INSERT INTO depqueue_job (created_at, claimed_at, expires_at, run_at, queue_id, attempt,
    max_attempts, `rank`, flags, job_id, meta, envelope, body) VALUES (%(p_created_at)s,
    %(p_claimed_at)s, %(p_expires_at)s, %(p_run_at)s, %(p_queue_id)s, %(p_attempt)s,
    %(p_max_attempts)s, %(p_rank)s, %(p_flags)s, %(p_job_id)s, %(p_meta)s, %(p_envelope)s,
    %(p_body)s)
