-- Keep a memo.
INSERT INTO depqueue_memo (name, value, keep_until) VALUES (%(p_name)s, %(p_value)s,
    (TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) + CAST(%(p_keep)s * 1000000 AS SIGNED))) ON DUPLICATE KEY UPDATE value = values(depqueue_memo.value),
    keep_until = values(depqueue_memo.keep_until)
