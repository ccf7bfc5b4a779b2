-- A held job without its payload.
SELECT depqueue.job.job_id, depqueue.job.queue_id, depqueue.job.rank, depqueue.job.attempt,
    depqueue.job.max_attempts, depqueue.job.flags, depqueue.job.created_at, depqueue.job.claimed_at,
    depqueue.job.expires_at, depqueue.job.run_at, depqueue.job.meta, NULL AS envelope, NULL AS body
FROM depqueue.job
WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER AND depqueue.job.rank = %(p_rank)s::SMALLINT
    AND depqueue.job.seq = %(p_seq)s::BIGINT
    AND depqueue.job.lease_token = %(p_token)s::BIGINT FOR UPDATE
