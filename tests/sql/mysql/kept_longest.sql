-- The same of those that are kept for longest.
SELECT depqueue_done.keep_until, depqueue_done.finished_at
FROM depqueue_done ORDER BY depqueue_done.keep_until DESC
LIMIT 200
