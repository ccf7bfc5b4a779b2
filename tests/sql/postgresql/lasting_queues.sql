-- The queues that outlast their consumers: not those for replies and control traffic.
SELECT depqueue.queue.id, depqueue.queue.channel, depqueue.queue.name, depqueue.queue.paused
FROM depqueue.queue
WHERE NOT depqueue.queue.ephemeral ORDER BY depqueue.queue.name, depqueue.queue.channel
