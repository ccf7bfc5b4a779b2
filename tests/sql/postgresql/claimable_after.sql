-- Ready jobs of one queue and priority behind a cursor.
SELECT depqueue.job.rank, depqueue.job.seq
FROM depqueue.job
WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER AND depqueue.job.rank = %(p_rank)s::SMALLINT
    AND depqueue.job.seq > %(p_after)s::BIGINT AND depqueue.job.consumer_id IS NULL
    AND (EXISTS (SELECT *
FROM depqueue.queue
WHERE depqueue.queue.id = %(p_queue)s::INTEGER AND NOT depqueue.queue.paused))
    ORDER BY depqueue.job.seq
LIMIT %(p_limit)s::INTEGER
