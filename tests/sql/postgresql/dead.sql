-- The latest jobs that are dead, or were lost.
SELECT depqueue.done.job_id, depqueue.queue.name, depqueue.done.reason, depqueue.done.finished_at
FROM depqueue.done JOIN depqueue.queue ON depqueue.queue.id = depqueue.done.queue_id
WHERE depqueue.done.status = 2 AND (depqueue.done.reason LIKE 'dead:%%'
    OR depqueue.done.reason LIKE 'lost:%%') ORDER BY depqueue.done.finished_at DESC
LIMIT %(p_limit)s::INTEGER
