-- Note a fact about the schema, unless another has: creating tables is no transaction here.
INSERT INTO depqueue_meta (`key`, value) VALUES (%(p_key)s,
    %(p_value)s) ON DUPLICATE KEY UPDATE `key` = depqueue_meta.`key`
