-- Forget consumers.
SELECT depqueue_consumer.id AS key_0
FROM depqueue_consumer FORCE INDEX (PRIMARY)
WHERE depqueue_consumer.id IN %(ids)s FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_consumer it FORCE INDEX (PRIMARY) ON it.id = chosen.id
