-- Exactly how many jobs of a queue are ready.
SELECT count(*) AS count_1
FROM depqueue.job
WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER AND depqueue.job.consumer_id IS NULL
    AND (depqueue.job.expires_at IS NULL OR depqueue.job.expires_at > statement_timestamp())
