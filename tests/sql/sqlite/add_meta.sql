-- Note a fact about the schema.
INSERT INTO depqueue_meta ("key", value) VALUES (:p_key, :p_value)
