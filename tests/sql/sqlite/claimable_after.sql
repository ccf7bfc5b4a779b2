-- The same in a lane (see `steps.Lane`); in two parts, each with a range of the index that SQLite sees.
SELECT depqueue_job.rank, depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.queue_id = :p_queue AND depqueue_job.rank = :p_rank
    AND depqueue_job.seq > :p_after AND depqueue_job.consumer_id IS NULL AND (EXISTS (SELECT *
FROM depqueue_queue
WHERE depqueue_queue.id = :p_queue AND depqueue_queue.paused = 0))
    UNION ALL SELECT depqueue_job.rank, depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.queue_id = :p_queue AND depqueue_job.rank > :p_rank
    AND depqueue_job.rank < :p_until AND depqueue_job.consumer_id IS NULL AND (EXISTS (SELECT *
FROM depqueue_queue
WHERE depqueue_queue.id = :p_queue AND depqueue_queue.paused = 0)) ORDER BY rank, seq
LIMIT :p_limit OFFSET :param_1
