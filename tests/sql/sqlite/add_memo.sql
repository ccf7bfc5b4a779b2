-- Keep a memo.
INSERT INTO depqueue_memo (name, value, keep_until) VALUES (:p_name, :p_value,
    (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(:p_keep * 1000000 AS INTEGER))) ON CONFLICT (name) DO UPDATE SET value = excluded.value,
    keep_until = excluded.keep_until
