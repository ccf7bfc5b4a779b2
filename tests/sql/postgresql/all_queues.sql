-- All queues by name.
SELECT depqueue.queue.id, depqueue.queue.channel, depqueue.queue.name, depqueue.queue.paused
FROM depqueue.queue ORDER BY depqueue.queue.name, depqueue.queue.channel
