-- The record of an ended job.
SELECT depqueue_done.queue_id, depqueue_done.status, depqueue_done.attempt,
    depqueue_done.created_at, depqueue_done.started_at, depqueue_done.finished_at,
    depqueue_done.reason, depqueue_done.result, depqueue_ended_body.`rank`,
    depqueue_ended_body.max_attempts, depqueue_queue.name, depqueue_queue.channel
FROM depqueue_done INNER JOIN depqueue_queue ON depqueue_queue.id = depqueue_done.queue_id LEFT OUTER JOIN depqueue_ended_body ON depqueue_ended_body.job_id = depqueue_done.job_id
WHERE depqueue_done.job_id = %(p_job_id)s
