-- Exactly how many jobs of a queue are ready.
SELECT count(*) AS count_1
FROM depqueue_job
WHERE depqueue_job.queue_id = :p_queue AND depqueue_job.consumer_id IS NULL
    AND (depqueue_job.expires_at IS NULL
    OR depqueue_job.expires_at > CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))
