-- One exchange.
SELECT depqueue_exchange.type, depqueue_exchange.durable, depqueue_exchange.auto_delete,
    depqueue_exchange.arguments
FROM depqueue_exchange
WHERE depqueue_exchange.name = %(p_name)s
