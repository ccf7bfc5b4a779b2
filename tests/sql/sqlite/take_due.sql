-- Take delayed jobs that are due.
DELETE FROM depqueue_wait WHERE depqueue_wait.seq IN (SELECT depqueue_wait.seq
FROM depqueue_wait
WHERE depqueue_wait.due_at <= CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)
    ORDER BY depqueue_wait.due_at
LIMIT :p_limit OFFSET :param_1) RETURNING job_id, queue_id, rank, attempt, max_attempts, flags,
     created_at, claimed_at, expires_at, run_at, meta, envelope, body, due_at, seq
