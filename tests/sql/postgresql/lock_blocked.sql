-- Lock counters, in order.
SELECT depqueue.blocked.job_id
FROM depqueue.blocked
WHERE depqueue.blocked.job_id = ANY (%(ids)s::UUID[]) ORDER BY depqueue.blocked.job_id FOR UPDATE
