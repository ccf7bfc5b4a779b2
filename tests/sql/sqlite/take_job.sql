-- Take a job out of the hot table by its id.
DELETE FROM depqueue_job WHERE depqueue_job.job_id = :p_job_id RETURNING job_id, queue_id, rank,
    attempt, max_attempts, flags, created_at, claimed_at, expires_at, run_at, meta, envelope, body
