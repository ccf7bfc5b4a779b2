-- It consumes the queue so many times.
UPDATE depqueue_subscription SET count=:p_count WHERE depqueue_subscription.queue_id = :p_queue
    AND depqueue_subscription.consumer_id = :p_id
