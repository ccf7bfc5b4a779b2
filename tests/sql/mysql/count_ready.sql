-- Exactly how many jobs of a queue are ready.
SELECT count(*) AS count_1
FROM depqueue_job
WHERE depqueue_job.queue_id = %(p_queue)s AND depqueue_job.consumer_id IS NULL
    AND (depqueue_job.expires_at IS NULL OR depqueue_job.expires_at > TIMESTAMPDIFF(MICROSECOND,
    '1970-01-01', UTC_TIMESTAMP(6)))
