-- Declare an exchange, unless it is there.
INSERT INTO depqueue_exchange (name, type, durable, auto_delete, arguments) VALUES (:p_name,
    :p_type, :p_durable, :p_auto_delete, :p_arguments) ON CONFLICT DO NOTHING
