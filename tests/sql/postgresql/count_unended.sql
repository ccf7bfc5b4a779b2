-- How many jobs of a queue have not ended, at most p_limit of those that wait, and of the others.
SELECT (SELECT count(*) AS count_1
FROM (SELECT depqueue.job.queue_id AS queue_id
FROM depqueue.job
WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER
LIMIT %(p_limit)s::INTEGER) AS anon_2) + (SELECT count(*) AS count_2
FROM (SELECT depqueue.wait.queue_id AS queue_id
FROM depqueue.wait
WHERE depqueue.wait.queue_id = %(p_queue)s::INTEGER
LIMIT %(p_limit)s::INTEGER) AS anon_3) AS anon_1
