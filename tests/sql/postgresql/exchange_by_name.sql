-- One exchange.
SELECT depqueue.exchange.type, depqueue.exchange.durable, depqueue.exchange.auto_delete,
    depqueue.exchange.arguments
FROM depqueue.exchange
WHERE depqueue.exchange.name = %(p_name)s::VARCHAR
