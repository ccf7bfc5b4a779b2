-- Delayed and blocked jobs by id.
SELECT stretch.job_id, depqueue.queue.name, depqueue.queue.channel,
    CASE WHEN (stretch.due_at IS NULL) THEN 'blocked' ELSE 'scheduled' END AS state,
    stretch.created_at, stretch.claimed_at, coalesce(stretch.due_at, stretch.run_at) AS coalesce_1,
    stretch.attempt
FROM (SELECT depqueue.wait.job_id AS job_id, depqueue.wait.queue_id AS queue_id,
    depqueue.wait.due_at AS due_at, depqueue.wait.created_at AS created_at,
    depqueue.wait.claimed_at AS claimed_at, depqueue.wait.run_at AS run_at,
    depqueue.wait.attempt AS attempt
FROM depqueue.wait
WHERE depqueue.wait.job_id IS NOT NULL AND depqueue.wait.job_id >= %(p_from)s::UUID
    AND depqueue.wait.job_id < %(p_before)s::UUID ORDER BY depqueue.wait.job_id DESC
LIMIT 20002) AS stretch JOIN depqueue.queue ON depqueue.queue.id = stretch.queue_id
WHERE (%(p_name)s::VARCHAR IS NULL OR depqueue.queue.name = %(p_name)s::VARCHAR)
    AND (%(p_channel)s::VARCHAR IS NULL OR depqueue.queue.channel = %(p_channel)s::VARCHAR)
    AND (%(p_state)s::VARCHAR IS NULL
    OR CASE WHEN (stretch.due_at IS NULL) THEN 'blocked' ELSE 'scheduled' END = %(p_state)s::VARCHAR)
    ORDER BY stretch.job_id DESC
LIMIT %(p_limit)s::INTEGER
