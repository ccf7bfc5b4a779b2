-- Scheduled and blocked jobs of a queue, each up to the count limit.
SELECT (SELECT count(*) AS count_1
FROM (SELECT depqueue_wait.queue_id AS queue_id
FROM depqueue_wait
WHERE depqueue_wait.queue_id = %(p_queue)s AND depqueue_wait.due_at IS NOT NULL
LIMIT 10001) AS anon_2) AS anon_1, (SELECT count(*) AS count_2
FROM (SELECT depqueue_wait.queue_id AS queue_id
FROM depqueue_wait
WHERE depqueue_wait.queue_id = %(p_queue)s AND depqueue_wait.due_at IS NULL
LIMIT 10001) AS anon_4) AS anon_3
