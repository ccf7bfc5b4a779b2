-- One queue's channel and name.
SELECT depqueue_queue.channel, depqueue_queue.name
FROM depqueue_queue
WHERE depqueue_queue.id = %(p_queue)s
