-- Consumers are gone.
SELECT depqueue_subscription.queue_id, depqueue_subscription.consumer_id
FROM depqueue_subscription
WHERE depqueue_subscription.consumer_id IN %(ids)s;
SELECT depqueue_subscription.queue_id AS key_0, depqueue_subscription.consumer_id AS key_1
FROM depqueue_subscription FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_subscription.consumer_id IN %(ids)s FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_subscription it FORCE INDEX (PRIMARY) ON it.queue_id = chosen.queue_id
    AND it.consumer_id = chosen.consumer_id
