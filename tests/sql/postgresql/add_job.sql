-- Enqueue a ready job.
INSERT INTO depqueue.job (created_at, expires_at, run_at, queue_id, attempt, max_attempts, rank,
    flags, job_id, envelope, body) VALUES (statement_timestamp(),
    (statement_timestamp() + make_interval(secs => %(p_expires_in)s)),
    %(p_run_at)s::TIMESTAMP WITH TIME ZONE, %(p_queue_id)s::INTEGER, %(p_attempt)s::INTEGER,
    %(p_max_attempts)s::INTEGER, %(p_rank)s::SMALLINT, %(p_flags)s::SMALLINT, %(p_job_id)s::UUID,
    %(p_envelope)s, %(p_body)s)
