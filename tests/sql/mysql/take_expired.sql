-- Take delayed and blocked jobs that have expired.
SELECT depqueue_wait.seq
FROM depqueue_wait
WHERE depqueue_wait.expires_at <= TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))
LIMIT %(p_limit)s;
SELECT depqueue_wait.seq AS key_0, depqueue_wait.job_id, depqueue_wait.queue_id,
    depqueue_wait.`rank`, depqueue_wait.attempt, depqueue_wait.max_attempts, depqueue_wait.flags,
    depqueue_wait.created_at, depqueue_wait.claimed_at, depqueue_wait.expires_at,
    depqueue_wait.run_at, depqueue_wait.meta, depqueue_wait.envelope, depqueue_wait.body
FROM depqueue_wait FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_wait.expires_at <= TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) FOR UPDATE SKIP LOCKED;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_wait it FORCE INDEX (PRIMARY) ON it.seq = chosen.seq
