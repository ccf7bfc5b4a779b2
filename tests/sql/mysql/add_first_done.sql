-- The same of a job that has never been anywhere.
INSERT INTO depqueue_done (job_id, queue_id, status, flags, attempt, created_at, started_at,
    finished_at, keep_until, reason, result, meta) VALUES (%(p_job_id)s, %(p_queue_id)s,
    %(p_status)s, %(p_flags)s, %(p_attempt)s, %(p_created_at)s, %(p_started_at)s,
    TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)), (TIMESTAMPDIFF(MICROSECOND,
    '1970-01-01', UTC_TIMESTAMP(6)) + CAST(%(p_keep)s * 1000000 AS SIGNED)), %(p_reason)s,
    %(p_result)s, %(p_meta)s)
