-- The priorities present in a queue (each found by one index look-up).
WITH RECURSIVE found(`rank`) AS
(SELECT min(depqueue_job.`rank`) AS `rank`
FROM depqueue_job
WHERE depqueue_job.queue_id = %(p_queue)s UNION ALL SELECT (SELECT min(depqueue_job.`rank`) AS min_1
FROM depqueue_job
WHERE depqueue_job.queue_id = %(p_queue)s AND depqueue_job.`rank` > found.`rank`) AS anon_1
FROM found
WHERE found.`rank` IS NOT NULL)
 SELECT found.`rank`
FROM found
WHERE found.`rank` IS NOT NULL
