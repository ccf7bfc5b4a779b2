-- Take such jobs, whose outcome nobody will tell any more.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.consumer_id IN %(ids)s AND (flags & 16) != 0;
SELECT depqueue_job.queue_id AS key_0, depqueue_job.`rank` AS key_1, depqueue_job.seq AS key_2,
    depqueue_job.job_id, depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.attempt,
    depqueue_job.max_attempts, depqueue_job.flags, depqueue_job.created_at, depqueue_job.claimed_at,
    depqueue_job.expires_at, depqueue_job.run_at, depqueue_job.meta, depqueue_job.envelope,
    depqueue_job.body
FROM depqueue_job FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_job.consumer_id IN %(ids)s AND (flags & 16) != 0 FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_job it FORCE INDEX (PRIMARY) ON it.queue_id = chosen.queue_id
    AND it.`rank` = chosen.`rank` AND it.seq = chosen.seq
