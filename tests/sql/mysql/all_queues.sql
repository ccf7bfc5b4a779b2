-- All queues by name.
SELECT depqueue_queue.id, depqueue_queue.channel, depqueue_queue.name, depqueue_queue.paused
FROM depqueue_queue ORDER BY depqueue_queue.name, depqueue_queue.channel
