-- It consumes the queue so many times.
UPDATE depqueue.subscription SET count=%(p_count)s::INTEGER
    WHERE depqueue.subscription.queue_id = %(p_queue)s::INTEGER
    AND depqueue.subscription.consumer_id = %(p_id)s::BIGINT
