-- Forget where nothing is consumed any more.
DELETE FROM depqueue_subscription WHERE depqueue_subscription.queue_id = :p_queue
    AND depqueue_subscription.count <= 0
