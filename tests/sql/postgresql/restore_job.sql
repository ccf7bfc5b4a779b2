-- Put a StoredJob into the hot table, behind those that are there.
INSERT INTO depqueue.job (created_at, claimed_at, expires_at, run_at, queue_id, attempt,
    max_attempts, rank, flags, job_id, meta, envelope,
    body) VALUES (%(p_created_at)s::TIMESTAMP WITH TIME ZONE,
    %(p_claimed_at)s::TIMESTAMP WITH TIME ZONE, %(p_expires_at)s::TIMESTAMP WITH TIME ZONE,
    %(p_run_at)s::TIMESTAMP WITH TIME ZONE, %(p_queue_id)s::INTEGER, %(p_attempt)s::INTEGER,
    %(p_max_attempts)s::INTEGER, %(p_rank)s::SMALLINT, %(p_flags)s::SMALLINT, %(p_job_id)s::UUID,
    %(p_meta)s, %(p_envelope)s, %(p_body)s)
