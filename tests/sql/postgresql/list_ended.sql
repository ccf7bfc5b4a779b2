-- Ended jobs by id.
SELECT stretch.job_id, depqueue.queue.name, depqueue.queue.channel, stretch.status,
    stretch.created_at, stretch.started_at, stretch.finished_at, stretch.attempt, stretch.reason,
    CASE WHEN (stretch.status = 2 AND (stretch.reason LIKE 'dead:%%'
    OR stretch.reason LIKE 'lost:%%')) THEN 1 ELSE 0 END AS dead
FROM (SELECT depqueue.done.job_id AS job_id, depqueue.done.queue_id AS queue_id,
    depqueue.done.status AS status, depqueue.done.created_at AS created_at,
    depqueue.done.started_at AS started_at, depqueue.done.finished_at AS finished_at,
    depqueue.done.attempt AS attempt, depqueue.done.reason AS reason
FROM depqueue.done
WHERE depqueue.done.job_id IS NOT NULL AND depqueue.done.job_id >= %(p_from)s::UUID
    AND depqueue.done.job_id < %(p_before)s::UUID ORDER BY depqueue.done.job_id DESC
LIMIT 20002) AS stretch JOIN depqueue.queue ON depqueue.queue.id = stretch.queue_id
WHERE (%(p_name)s::VARCHAR IS NULL OR depqueue.queue.name = %(p_name)s::VARCHAR)
    AND (%(p_channel)s::VARCHAR IS NULL OR depqueue.queue.channel = %(p_channel)s::VARCHAR)
    AND (%(p_status)s::INTEGER IS NULL OR stretch.status = %(p_status)s::INTEGER)
    AND CASE WHEN (stretch.status = 2 AND (stretch.reason LIKE 'dead:%%'
    OR stretch.reason LIKE 'lost:%%')) THEN 1 ELSE 0 END >= %(p_dead)s::INTEGER
    ORDER BY stretch.job_id DESC
LIMIT %(p_limit)s::INTEGER
