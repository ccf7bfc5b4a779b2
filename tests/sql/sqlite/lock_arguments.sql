-- What a queue was declared with, lest another change it meanwhile.
SELECT depqueue_queue.arguments
FROM depqueue_queue
WHERE depqueue_queue.id = :p_queue
