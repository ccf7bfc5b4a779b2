SELECT pg_logical_emit_message(true, 'depqueue', ''::text)
