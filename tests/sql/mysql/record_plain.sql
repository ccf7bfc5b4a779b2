-- Record the end of jobs that are locked; the server has the facts, so that they need not travel.
INSERT INTO depqueue_done (job_id, queue_id, flags, attempt, created_at, status, reason, result,
    meta, started_at, finished_at, keep_until) SELECT depqueue_job.job_id AS job_id,
    depqueue_job.queue_id AS queue_id, depqueue_job.flags AS flags, depqueue_job.attempt AS attempt,
    depqueue_job.created_at AS created_at, %(p_status)s AS status, %(p_reason)s AS reason,
    %(p_result)s AS result, %(p_meta)s AS meta, depqueue_job.claimed_at AS started_at,
    TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) AS finished_at,
    (TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) + CAST(%(p_keep)s * 1000000 AS SIGNED)) AS keep_until
FROM depqueue_job FORCE INDEX (PRIMARY)
WHERE depqueue_job.queue_id IN %(queues)s AND depqueue_job.`rank` IN %(ranks)s
    AND depqueue_job.seq IN %(seqs)s
    AND depqueue_job.job_id IS NOT NULL ON DUPLICATE KEY UPDATE queue_id = values(depqueue_done.queue_id),
    status = values(depqueue_done.status), flags = values(depqueue_done.flags),
    attempt = values(depqueue_done.attempt), created_at = values(depqueue_done.created_at),
    started_at = values(depqueue_done.started_at), finished_at = values(depqueue_done.finished_at),
    keep_until = values(depqueue_done.keep_until), reason = values(depqueue_done.reason),
    result = values(depqueue_done.result), meta = values(depqueue_done.meta)
