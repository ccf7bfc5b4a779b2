-- Enqueue a delayed job (p_delay seconds or p_due) or a blocked one (neither).
INSERT INTO depqueue_wait (due_at, run_at, created_at, expires_at, queue_id, attempt, max_attempts,
    `rank`, flags, job_id, envelope,
    body) VALUES (CASE WHEN %(p_blocked)s THEN NULL ELSE coalesce((TIMESTAMPDIFF(MICROSECOND,
    '1970-01-01', UTC_TIMESTAMP(6)) + CAST(%(p_delay)s * 1000000 AS SIGNED)), %(p_due)s) END,
    coalesce((TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) + CAST(%(p_delay)s * 1000000 AS SIGNED)), %(p_run_at)s),
    TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)), (TIMESTAMPDIFF(MICROSECOND,
    '1970-01-01', UTC_TIMESTAMP(6)) + CAST(%(p_expires_in)s * 1000000 AS SIGNED)), %(p_queue_id)s,
    %(p_attempt)s, %(p_max_attempts)s, %(p_rank)s, %(p_flags)s, %(p_job_id)s, %(p_envelope)s,
    %(p_body)s)
