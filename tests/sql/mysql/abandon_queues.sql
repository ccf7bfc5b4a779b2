-- Exclusive and auto-delete queues of consumers that have died may go as soon as nobody else consumes them.
SELECT depqueue_queue.id
FROM depqueue_queue
WHERE depqueue_queue.owner_id IN %(ids)s OR depqueue_queue.auto_delete = 1
    AND depqueue_queue.id IN (SELECT depqueue_subscription.queue_id
FROM depqueue_subscription
WHERE depqueue_subscription.consumer_id IN %(ids)s);
UPDATE depqueue_queue FORCE INDEX (PRIMARY) SET idle_limit=0.0, used_at=TIMESTAMPDIFF(MICROSECOND,
    '1970-01-01', UTC_TIMESTAMP(6)) WHERE <keys> AND (depqueue_queue.owner_id IN %(ids)s
    OR depqueue_queue.auto_delete = 1
    AND depqueue_queue.id IN (SELECT depqueue_subscription.queue_id
FROM depqueue_subscription
WHERE depqueue_subscription.consumer_id IN %(ids)s))
