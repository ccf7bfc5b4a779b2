-- The queues that outlast their consumers: not those for replies and control traffic.
SELECT depqueue_queue.id, depqueue_queue.channel, depqueue_queue.name, depqueue_queue.paused
FROM depqueue_queue
WHERE depqueue_queue.ephemeral = 0 ORDER BY depqueue_queue.name, depqueue_queue.channel
