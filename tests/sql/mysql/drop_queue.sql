-- Delete an ephemeral queue for good.
SELECT depqueue_queue.id AS key_0
FROM depqueue_queue FORCE INDEX (PRIMARY)
WHERE depqueue_queue.id = %(p_queue)s AND depqueue_queue.ephemeral = 1 FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_queue it FORCE INDEX (PRIMARY) ON it.id = chosen.id
