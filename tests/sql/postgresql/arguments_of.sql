-- What queues were declared with, where there is anything, by number.
SELECT depqueue.queue.id, depqueue.queue.name, depqueue.queue.arguments
FROM depqueue.queue
WHERE depqueue.queue.id = ANY (%(ids)s::BIGINT[]) AND depqueue.queue.arguments IS NOT NULL
