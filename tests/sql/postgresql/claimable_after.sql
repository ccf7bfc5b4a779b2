-- The same in a lane (see `steps.Lane`); in two parts, each with a range of the index that SQLite sees.
SELECT depqueue.job.rank, depqueue.job.seq
FROM depqueue.job
WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER AND depqueue.job.rank = %(p_rank)s::SMALLINT
    AND depqueue.job.seq > %(p_after)s::BIGINT AND depqueue.job.consumer_id IS NULL
    AND (EXISTS (SELECT *
FROM depqueue.queue
WHERE depqueue.queue.id = %(p_queue)s::INTEGER AND NOT depqueue.queue.paused))
    UNION ALL SELECT depqueue.job.rank, depqueue.job.seq
FROM depqueue.job
WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER AND depqueue.job.rank > %(p_rank)s::SMALLINT
    AND depqueue.job.rank < %(p_until)s::SMALLINT AND depqueue.job.consumer_id IS NULL
    AND (EXISTS (SELECT *
FROM depqueue.queue
WHERE depqueue.queue.id = %(p_queue)s::INTEGER AND NOT depqueue.queue.paused)) ORDER BY rank, seq
LIMIT %(p_limit)s::INTEGER
