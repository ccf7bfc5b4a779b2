-- How many jobs of each queue are dead, of the latest that did not succeed (NULL: the others).
SELECT found.queue_id, count(*) AS count_1
FROM (SELECT (SELECT depqueue_done.queue_id
FROM depqueue_done
WHERE depqueue_done.job_id = latest.job_id AND depqueue_done.status = 2
    AND (depqueue_done.reason LIKE 'dead:%%' OR depqueue_done.reason LIKE 'lost:%%')) AS queue_id
FROM (SELECT depqueue_ended_body.job_id AS job_id
FROM depqueue_ended_body ORDER BY depqueue_ended_body.job_id DESC
LIMIT 10001) AS latest) AS found GROUP BY found.queue_id
