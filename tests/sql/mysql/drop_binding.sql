-- Unbind a queue.
DELETE FROM depqueue_binding WHERE depqueue_binding.exchange = %(p_exchange)s
    AND depqueue_binding.routing_key = %(p_routing_key)s AND depqueue_binding.queue_id = %(p_queue)s
