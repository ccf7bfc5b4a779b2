-- Forget a memo.
DELETE FROM depqueue_memo WHERE depqueue_memo.name = %(p_name)s
