-- Forget their payloads.
SELECT depqueue_ended_body.job_id AS key_0
FROM depqueue_ended_body FORCE INDEX (PRIMARY)
WHERE depqueue_ended_body.job_id IN %(ids)s FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_ended_body it FORCE INDEX (PRIMARY) ON it.job_id = chosen.job_id
