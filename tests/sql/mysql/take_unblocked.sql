-- Those that wait for none any more.
SELECT depqueue_blocked.job_id AS key_0, depqueue_blocked.job_id
FROM depqueue_blocked FORCE INDEX (PRIMARY)
WHERE depqueue_blocked.job_id IN %(ids)s AND depqueue_blocked.pending <= 0 FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_blocked it FORCE INDEX (PRIMARY) ON it.job_id = chosen.job_id
