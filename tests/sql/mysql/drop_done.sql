-- Forget records of ended jobs.
SELECT depqueue_done.job_id AS key_0
FROM depqueue_done FORCE INDEX (PRIMARY)
WHERE depqueue_done.job_id IN %(ids)s FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_done it FORCE INDEX (PRIMARY) ON it.job_id = chosen.job_id
