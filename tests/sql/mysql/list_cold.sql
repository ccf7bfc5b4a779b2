-- Delayed and blocked jobs by id.
SELECT stretch.job_id, depqueue_queue.name, depqueue_queue.channel,
    CASE WHEN (stretch.due_at IS NULL) THEN 'blocked' ELSE 'scheduled' END AS state,
    stretch.created_at, stretch.claimed_at, coalesce(stretch.due_at, stretch.run_at) AS coalesce_1,
    stretch.attempt
FROM (SELECT depqueue_wait.job_id AS job_id, depqueue_wait.queue_id AS queue_id,
    depqueue_wait.due_at AS due_at, depqueue_wait.created_at AS created_at,
    depqueue_wait.claimed_at AS claimed_at, depqueue_wait.run_at AS run_at,
    depqueue_wait.attempt AS attempt
FROM depqueue_wait
WHERE depqueue_wait.job_id IS NOT NULL AND depqueue_wait.job_id >= %(p_from)s
    AND depqueue_wait.job_id < %(p_before)s ORDER BY depqueue_wait.job_id DESC
LIMIT 20002) AS stretch INNER JOIN depqueue_queue ON depqueue_queue.id = stretch.queue_id
WHERE (%(p_name)s IS NULL OR depqueue_queue.name = %(p_name)s) AND (%(p_channel)s IS NULL
    OR depqueue_queue.channel = %(p_channel)s) AND (%(p_state)s IS NULL
    OR CASE WHEN (stretch.due_at IS NULL) THEN 'blocked' ELSE 'scheduled' END = %(p_state)s)
    ORDER BY stretch.job_id DESC
LIMIT %(p_limit)s
