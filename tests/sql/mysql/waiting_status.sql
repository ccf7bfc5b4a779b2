-- A delayed or blocked job.
SELECT depqueue_wait.queue_id, depqueue_wait.`rank`, depqueue_wait.due_at, depqueue_wait.attempt,
    depqueue_wait.max_attempts, depqueue_wait.created_at, depqueue_wait.run_at,
    depqueue_wait.claimed_at, depqueue_queue.name, depqueue_queue.channel, depqueue_queue.paused
FROM depqueue_wait INNER JOIN depqueue_queue ON depqueue_queue.id = depqueue_wait.queue_id
WHERE depqueue_wait.job_id = %(p_job_id)s
