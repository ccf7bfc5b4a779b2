-- What a queue was declared with, lest another change it meanwhile.
SELECT depqueue_queue.id AS key_0, depqueue_queue.arguments
FROM depqueue_queue FORCE INDEX (PRIMARY)
WHERE depqueue_queue.id = %(p_queue)s FOR UPDATE
