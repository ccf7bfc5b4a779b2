-- How many jobs of each queue are dead, of the latest that ended otherwise than succeeded.
SELECT depqueue.done.queue_id, count(*) AS count_1
FROM (SELECT depqueue.ended_body.job_id AS job_id
FROM depqueue.ended_body ORDER BY depqueue.ended_body.job_id DESC
LIMIT 10001) AS latest JOIN depqueue.done ON depqueue.done.job_id = latest.job_id
WHERE depqueue.done.status = 2 AND (depqueue.done.reason LIKE 'dead:%%'
    OR depqueue.done.reason LIKE 'lost:%%') GROUP BY depqueue.done.queue_id
