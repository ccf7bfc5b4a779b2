-- Forget a memo.
DELETE FROM depqueue.memo WHERE depqueue.memo.name = %(p_name)s::VARCHAR
