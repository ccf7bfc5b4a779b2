-- Take ready jobs that have expired.
DELETE FROM depqueue_job
    WHERE depqueue_job.expires_at <= CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)
    AND depqueue_job.consumer_id IS NULL AND depqueue_job.seq IN (SELECT depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.expires_at <= CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)
    AND depqueue_job.consumer_id IS NULL
LIMIT :p_limit OFFSET :param_1) RETURNING job_id, queue_id, rank, attempt, max_attempts, flags,
     created_at, claimed_at, expires_at, run_at, meta, envelope, body
