-- The same of those that are kept for longest.
SELECT depqueue.done.keep_until, depqueue.done.finished_at
FROM depqueue.done ORDER BY depqueue.done.keep_until DESC
LIMIT 200
