-- Take jobs whose dependency can never be met, unless they asked to be held.
DELETE FROM depqueue_wait WHERE depqueue_wait.job_id IN (SELECT value FROM json_each(:ids))
    AND (flags & 4) = 0 RETURNING job_id, queue_id, rank, attempt, max_attempts, flags, created_at,
    claimed_at, expires_at, run_at, meta, envelope, body
