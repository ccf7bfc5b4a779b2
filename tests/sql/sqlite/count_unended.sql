-- How many jobs of a queue have not ended, at most p_limit of those that wait, and of the others.
SELECT (SELECT count(*) AS count_1
FROM (SELECT depqueue_job.queue_id AS queue_id
FROM depqueue_job
WHERE depqueue_job.queue_id = :p_queue
LIMIT :p_limit OFFSET :param_1) AS anon_2) + (SELECT count(*) AS count_2
FROM (SELECT depqueue_wait.queue_id AS queue_id
FROM depqueue_wait
WHERE depqueue_wait.queue_id = :p_queue
LIMIT :p_limit OFFSET :param_2) AS anon_3) AS anon_1
