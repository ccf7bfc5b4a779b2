-- Forget where nothing is consumed any more.
DELETE FROM depqueue.subscription WHERE depqueue.subscription.queue_id = %(p_queue)s::INTEGER
    AND depqueue.subscription.count <= 0
