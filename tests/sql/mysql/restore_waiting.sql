-- Put a StoredJob into the cold table: due at p_due, or in p_delay seconds, or blocked.
INSERT INTO depqueue_wait (due_at, run_at, claimed_at, created_at, expires_at, queue_id, attempt,
    max_attempts, `rank`, flags, job_id, meta, envelope,
    body) VALUES (coalesce((TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) + CAST(%(p_delay)s * 1000000 AS SIGNED)), %(p_due)s), %(p_run_at)s,
    %(p_claimed_at)s, %(p_created_at)s, %(p_expires_at)s, %(p_queue_id)s, %(p_attempt)s,
    %(p_max_attempts)s, %(p_rank)s, %(p_flags)s, %(p_job_id)s, %(p_meta)s, %(p_envelope)s,
    %(p_body)s)
