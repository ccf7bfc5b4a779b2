-- For how many seconds the first ready job of a queue and priority has waited.
SELECT CAST(EXTRACT(EPOCH FROM (GREATEST(depqueue.job.created_at, coalesce(depqueue.job.run_at,
    depqueue.job.created_at)) - statement_timestamp())) AS float8) AS anon_1
FROM depqueue.job
WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER AND depqueue.job.rank = %(p_rank)s::SMALLINT
    AND depqueue.job.consumer_id IS NULL AND depqueue.job.job_id IS NOT NULL
    ORDER BY depqueue.job.seq
LIMIT 1
