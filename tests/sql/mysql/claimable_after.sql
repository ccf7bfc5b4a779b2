-- Differs: it would sort all of both parts.
SELECT depqueue_job.`rank`, depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.queue_id = %(p_queue)s AND (depqueue_job.`rank` = %(p_rank)s
    AND depqueue_job.seq > %(p_after)s OR depqueue_job.`rank` > %(p_rank)s
    AND depqueue_job.`rank` < %(p_until)s) AND depqueue_job.consumer_id IS NULL
    AND (EXISTS (SELECT *
FROM depqueue_queue
WHERE depqueue_queue.id = %(p_queue)s AND depqueue_queue.paused = 0)) ORDER BY depqueue_job.`rank`,
    depqueue_job.seq
LIMIT %(p_limit)s
