-- Take a job out of the hot table by its key and lease token.
DELETE FROM depqueue_job WHERE depqueue_job.queue_id = :p_queue AND depqueue_job.rank = :p_rank
    AND depqueue_job.seq = :p_seq AND depqueue_job.lease_token = :p_token RETURNING job_id,
    queue_id, rank, attempt, max_attempts, flags, created_at, claimed_at, expires_at, run_at, meta,
    envelope, body
