-- All bindings.
SELECT depqueue.queue.name, depqueue.binding.exchange, depqueue.binding.routing_key
FROM depqueue.binding JOIN depqueue.queue ON depqueue.queue.id = depqueue.binding.queue_id
    ORDER BY depqueue.binding.exchange, depqueue.binding.routing_key
