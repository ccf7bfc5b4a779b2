-- Bind a queue, unless it is bound so.
INSERT INTO depqueue_binding (exchange, routing_key, queue_id) VALUES (:p_exchange, :p_routing_key,
    :p_queue_id) ON CONFLICT DO NOTHING
