-- What queues were declared with, where there is anything, by number.
SELECT depqueue_queue.id, depqueue_queue.name, depqueue_queue.arguments
FROM depqueue_queue
WHERE depqueue_queue.id IN %(ids)s AND depqueue_queue.arguments IS NOT NULL
