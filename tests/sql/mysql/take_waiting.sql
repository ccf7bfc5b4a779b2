-- Take a job out of the cold table by its id.
SELECT depqueue_wait.seq
FROM depqueue_wait
WHERE depqueue_wait.job_id = %(p_job_id)s;
SELECT depqueue_wait.seq AS key_0, depqueue_wait.job_id, depqueue_wait.queue_id,
    depqueue_wait.`rank`, depqueue_wait.attempt, depqueue_wait.max_attempts, depqueue_wait.flags,
    depqueue_wait.created_at, depqueue_wait.claimed_at, depqueue_wait.expires_at,
    depqueue_wait.run_at, depqueue_wait.meta, depqueue_wait.envelope, depqueue_wait.body
FROM depqueue_wait FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_wait.job_id = %(p_job_id)s FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_wait it FORCE INDEX (PRIMARY) ON it.seq = chosen.seq
