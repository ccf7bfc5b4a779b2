-- It consumes the queue once more (or, with -1, once less).
UPDATE depqueue.subscription SET count=(depqueue.subscription.count + %(p_change)s::INTEGER)
    WHERE depqueue.subscription.queue_id = %(p_queue)s::INTEGER
    AND depqueue.subscription.consumer_id = %(p_id)s::BIGINT
