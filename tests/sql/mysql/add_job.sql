-- Enqueue a ready job.
INSERT INTO depqueue_job (created_at, expires_at, run_at, queue_id, attempt, max_attempts, `rank`,
    flags, job_id, envelope, body) VALUES (TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)), (TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) + CAST(%(p_expires_in)s * 1000000 AS SIGNED)), %(p_run_at)s, %(p_queue_id)s,
    %(p_attempt)s, %(p_max_attempts)s, %(p_rank)s, %(p_flags)s, %(p_job_id)s, %(p_envelope)s,
    %(p_body)s)
