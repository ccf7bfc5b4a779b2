-- Take its payload.
SELECT depqueue_ended_body.job_id AS key_0, depqueue_ended_body.`rank`,
    depqueue_ended_body.max_attempts, depqueue_ended_body.envelope, depqueue_ended_body.body
FROM depqueue_ended_body FORCE INDEX (PRIMARY)
WHERE depqueue_ended_body.job_id = %(p_job_id)s FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_ended_body it FORCE INDEX (PRIMARY) ON it.job_id = chosen.job_id
