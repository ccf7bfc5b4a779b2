-- The priorities present in a queue (each found by one index look-up).
WITH RECURSIVE found(rank) AS
(SELECT min(depqueue.job.rank) AS rank
FROM depqueue.job
WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER
    UNION ALL SELECT (SELECT min(depqueue.job.rank) AS min_1
FROM depqueue.job
WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER AND depqueue.job.rank > found.rank) AS anon_1
FROM found
WHERE found.rank IS NOT NULL)
 SELECT found.rank
FROM found
WHERE found.rank IS NOT NULL
