-- One queue's number.
SELECT depqueue.queue.id, depqueue.queue.ephemeral
FROM depqueue.queue
WHERE depqueue.queue.channel = %(p_channel)s::VARCHAR AND depqueue.queue.name = %(p_name)s::VARCHAR
