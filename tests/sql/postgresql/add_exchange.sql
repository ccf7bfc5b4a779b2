-- Declare an exchange, unless it is there.
INSERT INTO depqueue.exchange (name, type, durable, auto_delete,
    arguments) VALUES (%(p_name)s::VARCHAR, %(p_type)s::VARCHAR, %(p_durable)s, %(p_auto_delete)s,
    %(p_arguments)s::VARCHAR) ON CONFLICT DO NOTHING
