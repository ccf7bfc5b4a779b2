-- Take a job that is ready and held by nobody.
DELETE FROM depqueue_job WHERE depqueue_job.job_id = :p_job_id AND depqueue_job.consumer_id IS NULL
    RETURNING job_id, queue_id, rank, attempt, max_attempts, flags, created_at, claimed_at,
    expires_at, run_at, meta, envelope, body
