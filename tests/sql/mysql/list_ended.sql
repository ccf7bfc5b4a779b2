-- Ended jobs by id.
SELECT stretch.job_id, depqueue_queue.name, depqueue_queue.channel, stretch.status,
    stretch.created_at, stretch.started_at, stretch.finished_at, stretch.attempt, stretch.reason,
    CASE WHEN (stretch.status = 2 AND (stretch.reason LIKE 'dead:%%'
    OR stretch.reason LIKE 'lost:%%')) THEN 1 ELSE 0 END AS dead
FROM (SELECT depqueue_done.job_id AS job_id, depqueue_done.queue_id AS queue_id,
    depqueue_done.status AS status, depqueue_done.created_at AS created_at,
    depqueue_done.started_at AS started_at, depqueue_done.finished_at AS finished_at,
    depqueue_done.attempt AS attempt, depqueue_done.reason AS reason
FROM depqueue_done
WHERE depqueue_done.job_id IS NOT NULL AND depqueue_done.job_id >= %(p_from)s
    AND depqueue_done.job_id < %(p_before)s ORDER BY depqueue_done.job_id DESC
LIMIT 20002) AS stretch INNER JOIN depqueue_queue ON depqueue_queue.id = stretch.queue_id
WHERE (%(p_name)s IS NULL OR depqueue_queue.name = %(p_name)s) AND (%(p_channel)s IS NULL
    OR depqueue_queue.channel = %(p_channel)s) AND (%(p_status)s IS NULL
    OR stretch.status = %(p_status)s) AND CASE WHEN (stretch.status = 2
    AND (stretch.reason LIKE 'dead:%%'
    OR stretch.reason LIKE 'lost:%%')) THEN 1 ELSE 0 END >= %(p_dead)s ORDER BY stretch.job_id DESC
LIMIT %(p_limit)s
