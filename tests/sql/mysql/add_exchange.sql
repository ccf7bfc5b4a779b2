-- Declare an exchange, unless it is there.
INSERT INTO depqueue_exchange (name, type, durable, auto_delete, arguments) VALUES (%(p_name)s,
    %(p_type)s, %(p_durable)s, %(p_auto_delete)s,
    %(p_arguments)s) ON DUPLICATE KEY UPDATE name = depqueue_exchange.name
