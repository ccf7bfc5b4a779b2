-- Queues whose time without consumers is over, or whose last consumer has died.
SELECT depqueue_queue.id
FROM depqueue_queue
WHERE depqueue_queue.declared = 1 AND depqueue_queue.idle_limit IS NOT NULL
    AND ((depqueue_queue.used_at - TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6))) / 1e6) < -depqueue_queue.idle_limit AND NOT (EXISTS (SELECT *
FROM depqueue_subscription
WHERE depqueue_subscription.queue_id = depqueue_queue.id))
LIMIT 100;
SELECT depqueue_queue.id AS key_0, depqueue_queue.id
FROM depqueue_queue FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_queue.declared = 1 AND depqueue_queue.idle_limit IS NOT NULL
    AND ((depqueue_queue.used_at - TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6))) / 1e6) < -depqueue_queue.idle_limit AND NOT (EXISTS (SELECT *
FROM depqueue_subscription
WHERE depqueue_subscription.queue_id = depqueue_queue.id)) FOR UPDATE SKIP LOCKED
