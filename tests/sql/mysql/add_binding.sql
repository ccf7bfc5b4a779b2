-- Bind a queue, unless it is bound so.
INSERT INTO depqueue_binding (exchange, routing_key, queue_id) VALUES (%(p_exchange)s,
    %(p_routing_key)s, %(p_queue_id)s) ON DUPLICATE KEY UPDATE exchange = depqueue_binding.exchange
