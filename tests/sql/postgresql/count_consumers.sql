-- How many consume a queue.
SELECT coalesce(sum(depqueue.subscription.count), 0) AS coalesce_1
FROM depqueue.subscription
WHERE depqueue.subscription.queue_id = %(p_queue)s::INTEGER
