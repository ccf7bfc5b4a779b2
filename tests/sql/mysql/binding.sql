-- Whether a queue is bound so.
SELECT depqueue_binding.queue_id
FROM depqueue_binding
WHERE depqueue_binding.exchange = %(p_exchange)s
    AND depqueue_binding.routing_key = %(p_routing_key)s
    AND depqueue_binding.queue_id = %(p_queue_id)s
