-- Keep a memo.
INSERT INTO depqueue.memo (name, value, keep_until) VALUES (%(p_name)s::VARCHAR, %(p_value)s,
    (statement_timestamp() + make_interval(secs => %(p_keep)s))) ON CONFLICT (name) DO UPDATE SET value = excluded.value,
    keep_until = excluded.keep_until
