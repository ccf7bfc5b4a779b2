-- The queues that have limits.
SELECT depqueue_queue.id, depqueue_queue.channel, depqueue_queue.name, depqueue_queue.arguments
FROM depqueue_queue
WHERE depqueue_queue.arguments LIKE '%"x-depqueue-limits"%'
