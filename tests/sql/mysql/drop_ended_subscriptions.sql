-- Forget where nothing is consumed any more.
SELECT depqueue_subscription.queue_id, depqueue_subscription.consumer_id
FROM depqueue_subscription
WHERE depqueue_subscription.queue_id = %(p_queue)s AND depqueue_subscription.count <= 0;
SELECT depqueue_subscription.queue_id AS key_0, depqueue_subscription.consumer_id AS key_1
FROM depqueue_subscription FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_subscription.queue_id = %(p_queue)s
    AND depqueue_subscription.count <= 0 FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_subscription it FORCE INDEX (PRIMARY) ON it.queue_id = chosen.queue_id
    AND it.consumer_id = chosen.consumer_id
