-- Lock counters, in order.
SELECT depqueue_blocked.job_id
FROM depqueue_blocked
WHERE depqueue_blocked.job_id IN (SELECT value FROM json_each(:ids))
    ORDER BY depqueue_blocked.job_id
