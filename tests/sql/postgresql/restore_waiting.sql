-- Put a StoredJob into the cold table: due at p_due, or in p_delay seconds, or blocked.
INSERT INTO depqueue.wait (due_at, run_at, claimed_at, created_at, expires_at, queue_id, attempt,
    max_attempts, rank, flags, job_id, meta, envelope,
    body) VALUES (coalesce((statement_timestamp() + make_interval(secs => %(p_delay)s)),
    %(p_due)s::TIMESTAMP WITH TIME ZONE), %(p_run_at)s::TIMESTAMP WITH TIME ZONE,
    %(p_claimed_at)s::TIMESTAMP WITH TIME ZONE, %(p_created_at)s::TIMESTAMP WITH TIME ZONE,
    %(p_expires_at)s::TIMESTAMP WITH TIME ZONE, %(p_queue_id)s::INTEGER, %(p_attempt)s::INTEGER,
    %(p_max_attempts)s::INTEGER, %(p_rank)s::SMALLINT, %(p_flags)s::SMALLINT, %(p_job_id)s::UUID,
    %(p_meta)s, %(p_envelope)s, %(p_body)s)
