-- Take some delayed or blocked jobs of a queue.
DELETE FROM depqueue_wait WHERE depqueue_wait.seq IN (SELECT depqueue_wait.seq
FROM depqueue_wait
WHERE depqueue_wait.queue_id = :p_queue
LIMIT :p_limit OFFSET :param_1) RETURNING job_id, queue_id, rank, attempt, max_attempts, flags,
     created_at, claimed_at, expires_at, run_at, meta, envelope, body
