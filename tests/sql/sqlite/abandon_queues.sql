-- Exclusive and auto-delete queues of consumers that have died may go as soon as nobody else consumes them.
UPDATE depqueue_queue SET idle_limit=0.0,
    used_at=CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)
    WHERE depqueue_queue.owner_id IN (SELECT value FROM json_each(:ids))
    OR depqueue_queue.auto_delete = 1
    AND depqueue_queue.id IN (SELECT depqueue_subscription.queue_id
FROM depqueue_subscription
WHERE depqueue_subscription.consumer_id IN (SELECT value FROM json_each(:ids)))
