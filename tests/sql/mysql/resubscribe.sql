-- It consumes the queue once more (or, with -1, once less).
UPDATE depqueue_subscription FORCE INDEX (PRIMARY) SET count=(depqueue_subscription.count + %(p_change)s)
    WHERE depqueue_subscription.queue_id = %(p_queue)s
    AND depqueue_subscription.consumer_id = %(p_id)s
