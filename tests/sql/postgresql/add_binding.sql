-- Bind a queue, unless it is bound so.
INSERT INTO depqueue.binding (exchange, routing_key, queue_id) VALUES (%(p_exchange)s::VARCHAR,
    %(p_routing_key)s::VARCHAR, %(p_queue_id)s::INTEGER) ON CONFLICT DO NOTHING
