-- The latest jobs that are dead, or were lost.
SELECT depqueue_done.job_id, depqueue_queue.name, depqueue_done.reason, depqueue_done.finished_at
FROM depqueue_done INNER JOIN depqueue_queue ON depqueue_queue.id = depqueue_done.queue_id
WHERE depqueue_done.status = 2 AND (depqueue_done.reason LIKE 'dead:%%'
    OR depqueue_done.reason LIKE 'lost:%%') ORDER BY depqueue_done.finished_at DESC
LIMIT %(p_limit)s
