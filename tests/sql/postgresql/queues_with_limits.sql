-- The queues that have limits.
SELECT depqueue.queue.id, depqueue.queue.channel, depqueue.queue.name, depqueue.queue.arguments
FROM depqueue.queue
WHERE depqueue.queue.arguments LIKE '%%"x-depqueue-limits"%%'
