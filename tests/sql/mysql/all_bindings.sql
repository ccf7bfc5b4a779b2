-- All bindings.
SELECT depqueue_queue.name, depqueue_binding.exchange, depqueue_binding.routing_key
FROM depqueue_binding INNER JOIN depqueue_queue ON depqueue_queue.id = depqueue_binding.queue_id
    ORDER BY depqueue_binding.exchange, depqueue_binding.routing_key
