-- Forget counters.
SELECT depqueue_blocked.job_id AS key_0
FROM depqueue_blocked FORCE INDEX (PRIMARY)
WHERE depqueue_blocked.job_id IN %(ids)s FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_blocked it FORCE INDEX (PRIMARY) ON it.job_id = chosen.job_id
