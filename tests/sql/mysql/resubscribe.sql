-- It consumes the queue so many times.
UPDATE depqueue_subscription FORCE INDEX (PRIMARY) SET count=%(p_count)s
    WHERE depqueue_subscription.queue_id = %(p_queue)s
    AND depqueue_subscription.consumer_id = %(p_id)s
