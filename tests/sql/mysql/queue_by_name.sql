-- One queue's number.
SELECT depqueue_queue.id, depqueue_queue.ephemeral
FROM depqueue_queue
WHERE depqueue_queue.channel = %(p_channel)s AND depqueue_queue.name = %(p_name)s
