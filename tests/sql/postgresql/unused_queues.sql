-- Queues whose time without consumers is over, or whose last consumer has died.
SELECT depqueue.queue.id
FROM depqueue.queue
WHERE depqueue.queue.declared AND depqueue.queue.idle_limit IS NOT NULL AND CAST(EXTRACT(EPOCH
    FROM (depqueue.queue.used_at - statement_timestamp())) AS float8) < -depqueue.queue.idle_limit
    AND NOT (EXISTS (SELECT *
FROM depqueue.subscription
WHERE depqueue.subscription.queue_id = depqueue.queue.id))
LIMIT 100 FOR UPDATE SKIP LOCKED
