-- A held job without its payload.
SELECT depqueue_job.job_id, depqueue_job.queue_id, depqueue_job.rank, depqueue_job.attempt,
    depqueue_job.max_attempts, depqueue_job.flags, depqueue_job.created_at, depqueue_job.claimed_at,
    depqueue_job.expires_at, depqueue_job.run_at, depqueue_job.meta, NULL AS envelope, NULL AS body
FROM depqueue_job
WHERE depqueue_job.queue_id = :p_queue AND depqueue_job.rank = :p_rank AND depqueue_job.seq = :p_seq
    AND depqueue_job.lease_token = :p_token
