-- Take some ready jobs of a queue.
DELETE FROM depqueue_job WHERE depqueue_job.seq IN (SELECT depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.queue_id = :p_queue AND depqueue_job.consumer_id IS NULL
LIMIT :p_limit OFFSET :param_1) AND depqueue_job.queue_id = :p_queue
     AND depqueue_job.consumer_id IS NULL RETURNING job_id, queue_id, rank, attempt, max_attempts,
     flags, created_at, claimed_at, expires_at, run_at, meta, envelope, body
