-- For how many seconds the first ready job of a queue and priority has waited.
SELECT ((GREATEST(depqueue_job.created_at, coalesce(depqueue_job.run_at,
    depqueue_job.created_at)) - TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6))) / 1e6) AS anon_1
FROM depqueue_job
WHERE depqueue_job.queue_id = %(p_queue)s AND depqueue_job.`rank` = %(p_rank)s
    AND depqueue_job.consumer_id IS NULL AND depqueue_job.job_id IS NOT NULL
    ORDER BY depqueue_job.seq
LIMIT 1
