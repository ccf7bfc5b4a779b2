-- Whether a queue is bound so.
SELECT depqueue.binding.queue_id
FROM depqueue.binding
WHERE depqueue.binding.exchange = %(p_exchange)s::VARCHAR
    AND depqueue.binding.routing_key = %(p_routing_key)s::VARCHAR
    AND depqueue.binding.queue_id = %(p_queue_id)s::INTEGER
