-- For how many seconds the first ready job of a queue and priority has waited.
SELECT ((MAX(depqueue_job.created_at, coalesce(depqueue_job.run_at,
    depqueue_job.created_at)) - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) AS anon_1
FROM depqueue_job
WHERE depqueue_job.queue_id = :p_queue AND depqueue_job.rank = :p_rank
    AND depqueue_job.consumer_id IS NULL AND depqueue_job.job_id IS NOT NULL
    ORDER BY depqueue_job.seq
LIMIT 1 OFFSET :param_1
