-- The record of an ended job.
SELECT depqueue.done.queue_id, depqueue.done.status, depqueue.done.attempt,
    depqueue.done.created_at, depqueue.done.started_at, depqueue.done.finished_at,
    depqueue.done.reason, depqueue.done.result, depqueue.ended_body.rank,
    depqueue.ended_body.max_attempts, depqueue.queue.name, depqueue.queue.channel
FROM depqueue.done JOIN depqueue.queue ON depqueue.queue.id = depqueue.done.queue_id LEFT OUTER JOIN depqueue.ended_body ON depqueue.ended_body.job_id = depqueue.done.job_id
WHERE depqueue.done.job_id = %(p_job_id)s::UUID
