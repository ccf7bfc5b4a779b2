-- Lock counters, in order.
SELECT depqueue_blocked.job_id AS key_0, depqueue_blocked.job_id
FROM depqueue_blocked FORCE INDEX (PRIMARY)
WHERE depqueue_blocked.job_id IN %(ids)s ORDER BY depqueue_blocked.job_id FOR UPDATE
