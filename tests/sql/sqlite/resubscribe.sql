-- It consumes the queue once more (or, with -1, once less).
UPDATE depqueue_subscription SET count=(depqueue_subscription.count + :p_change)
    WHERE depqueue_subscription.queue_id = :p_queue AND depqueue_subscription.consumer_id = :p_id
