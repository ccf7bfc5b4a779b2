-- Take such jobs, whose outcome nobody will tell any more.
DELETE FROM depqueue_job WHERE depqueue_job.consumer_id IN (SELECT value FROM json_each(:ids))
    AND (flags & 16) != 0 RETURNING job_id, queue_id, rank, attempt, max_attempts, flags,
    created_at, claimed_at, expires_at, run_at, meta, envelope, body
