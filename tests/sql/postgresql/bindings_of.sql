-- The bindings of an exchange, with its type and what the queues are.
SELECT depqueue.exchange.type, depqueue.binding.routing_key, depqueue.queue.id, depqueue.queue.name,
    depqueue.queue.arguments, depqueue.queue.ephemeral
FROM depqueue.exchange LEFT OUTER JOIN depqueue.binding ON depqueue.binding.exchange = depqueue.exchange.name LEFT OUTER JOIN depqueue.queue ON depqueue.queue.id = depqueue.binding.queue_id
WHERE depqueue.exchange.name = %(p_exchange)s::VARCHAR
