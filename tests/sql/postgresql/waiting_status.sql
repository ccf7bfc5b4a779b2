-- A delayed or blocked job.
SELECT depqueue.wait.queue_id, depqueue.wait.rank, depqueue.wait.due_at, depqueue.wait.attempt,
    depqueue.wait.max_attempts, depqueue.wait.created_at, depqueue.wait.run_at,
    depqueue.wait.claimed_at, depqueue.queue.name, depqueue.queue.channel, depqueue.queue.paused
FROM depqueue.wait JOIN depqueue.queue ON depqueue.queue.id = depqueue.wait.queue_id
WHERE depqueue.wait.job_id = %(p_job_id)s::UUID
