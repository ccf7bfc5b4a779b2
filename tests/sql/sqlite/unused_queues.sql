-- Queues whose time without consumers is over, or whose last consumer has died.
SELECT depqueue_queue.id
FROM depqueue_queue
WHERE depqueue_queue.declared = 1 AND depqueue_queue.idle_limit IS NOT NULL
    AND ((depqueue_queue.used_at - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) < -depqueue_queue.idle_limit
    AND NOT (EXISTS (SELECT *
FROM depqueue_subscription
WHERE depqueue_subscription.queue_id = depqueue_queue.id))
LIMIT 100 OFFSET :param_1
