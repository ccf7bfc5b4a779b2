-- How many jobs of each queue are dead, of the latest that ended otherwise than succeeded.
SELECT depqueue_done.queue_id, count(*) AS count_1
FROM (SELECT depqueue_ended_body.job_id AS job_id
FROM depqueue_ended_body ORDER BY depqueue_ended_body.job_id DESC
LIMIT 10001 OFFSET :param_1) AS latest JOIN depqueue_done ON depqueue_done.job_id = latest.job_id
WHERE depqueue_done.status = 2 AND (depqueue_done.reason LIKE 'dead:%'
    OR depqueue_done.reason LIKE 'lost:%') GROUP BY depqueue_done.queue_id
