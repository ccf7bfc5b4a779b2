-- The same of a job that has never been anywhere.
INSERT INTO depqueue.done (job_id, queue_id, status, flags, attempt, created_at, started_at,
    finished_at, keep_until, reason, result, meta) VALUES (%(p_job_id)s::UUID,
    %(p_queue_id)s::INTEGER, %(p_status)s::SMALLINT, %(p_flags)s::SMALLINT, %(p_attempt)s::INTEGER,
    %(p_created_at)s::TIMESTAMP WITH TIME ZONE, %(p_started_at)s::TIMESTAMP WITH TIME ZONE,
    statement_timestamp(), (statement_timestamp() + make_interval(secs => %(p_keep)s)),
    %(p_reason)s::VARCHAR, %(p_result)s, %(p_meta)s)
