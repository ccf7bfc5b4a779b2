-- The same in a lane (see `steps.Lane`).
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq, %(p_token)s AS lease_token,
    depqueue_job.attempt + 1 AS attempt, depqueue_job.max_attempts, depqueue_job.flags,
    depqueue_job.job_id, depqueue_job.run_at,
    coalesce(((depqueue_job.expires_at - TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6))) / 1e6) <= 0, false) AS expired,
    CASE WHEN coalesce(octet_length(depqueue_job.envelope) <= 16842752,
    true) THEN depqueue_job.envelope END AS envelope,
    CASE WHEN (coalesce(octet_length(depqueue_job.body) <= 16777216, true)
    AND coalesce(octet_length(depqueue_job.envelope) <= 16842752,
    true)) THEN depqueue_job.body END AS body
FROM depqueue_job FORCE INDEX (PRIMARY)
WHERE depqueue_job.queue_id = %(p_queue)s AND (%(p_after)s > 0 AND depqueue_job.`rank` = %(p_rank)s
    AND depqueue_job.seq > %(p_after)s OR depqueue_job.`rank` IN %(ranks)s)
    AND depqueue_job.consumer_id IS NULL AND (EXISTS (SELECT *
FROM depqueue_queue
WHERE depqueue_queue.id = %(p_queue)s AND depqueue_queue.paused = 0)) ORDER BY depqueue_job.`rank`,
    depqueue_job.seq
LIMIT %(p_limit)s FOR UPDATE SKIP LOCKED
