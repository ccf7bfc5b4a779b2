-- Ready jobs of one queue in claim order.
SELECT depqueue.job.rank, depqueue.job.seq
FROM depqueue.job
WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER AND depqueue.job.consumer_id IS NULL
    AND (EXISTS (SELECT *
FROM depqueue.queue
WHERE depqueue.queue.id = %(p_queue)s::INTEGER AND NOT depqueue.queue.paused))
    ORDER BY depqueue.job.rank, depqueue.job.seq
LIMIT %(p_limit)s::INTEGER
