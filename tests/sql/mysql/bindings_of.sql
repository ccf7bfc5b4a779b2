-- The bindings of an exchange, with its type and what the queues are.
SELECT depqueue_exchange.type, depqueue_binding.routing_key, depqueue_queue.id, depqueue_queue.name,
    depqueue_queue.arguments, depqueue_queue.ephemeral
FROM depqueue_exchange LEFT OUTER JOIN depqueue_binding ON depqueue_binding.exchange = depqueue_exchange.name LEFT OUTER JOIN depqueue_queue ON depqueue_queue.id = depqueue_binding.queue_id
WHERE depqueue_exchange.name = %(p_exchange)s
