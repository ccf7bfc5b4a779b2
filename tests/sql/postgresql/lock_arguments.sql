-- What a queue was declared with, lest another change it meanwhile.
SELECT depqueue.queue.arguments
FROM depqueue.queue
WHERE depqueue.queue.id = %(p_queue)s::INTEGER FOR UPDATE
