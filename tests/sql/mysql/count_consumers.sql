-- How many consume a queue.
SELECT coalesce(sum(depqueue_subscription.count), 0) AS coalesce_1
FROM depqueue_subscription
WHERE depqueue_subscription.queue_id = %(p_queue)s
