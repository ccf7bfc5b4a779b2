-- Take the jobs of dead consumers whose attempts are used up.
DELETE FROM depqueue_job WHERE depqueue_job.consumer_id IN (SELECT value FROM json_each(:ids))
    AND depqueue_job.max_attempts > 0 AND depqueue_job.attempt >= depqueue_job.max_attempts
    AND (flags & 16) = 0 RETURNING job_id, queue_id, rank, attempt, max_attempts, flags, created_at,
    claimed_at, expires_at, run_at, meta, envelope, body
