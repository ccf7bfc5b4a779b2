-- Note a fact about the schema.
INSERT INTO depqueue.meta (key, value) VALUES (%(p_key)s::VARCHAR, %(p_value)s::VARCHAR)
