-- One queue's channel and name.
SELECT depqueue.queue.channel, depqueue.queue.name
FROM depqueue.queue
WHERE depqueue.queue.id = %(p_queue)s::INTEGER
