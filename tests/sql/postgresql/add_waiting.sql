-- Enqueue a delayed job (p_delay seconds or p_due) or a blocked one (neither).
INSERT INTO depqueue.wait (due_at, run_at, created_at, expires_at, queue_id, attempt, max_attempts,
    rank, flags, job_id, envelope,
    body) VALUES (CASE WHEN %(p_blocked)s THEN NULL ELSE coalesce((statement_timestamp() + make_interval(secs => %(p_delay)s)),
    %(p_due)s::TIMESTAMP WITH TIME ZONE) END,
    coalesce((statement_timestamp() + make_interval(secs => %(p_delay)s)),
    %(p_run_at)s::TIMESTAMP WITH TIME ZONE), statement_timestamp(),
    (statement_timestamp() + make_interval(secs => %(p_expires_in)s)), %(p_queue_id)s::INTEGER,
    %(p_attempt)s::INTEGER, %(p_max_attempts)s::INTEGER, %(p_rank)s::SMALLINT,
    %(p_flags)s::SMALLINT, %(p_job_id)s::UUID, %(p_envelope)s, %(p_body)s)
