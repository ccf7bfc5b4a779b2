-- A memo.
SELECT depqueue.memo.value
FROM depqueue.memo
WHERE depqueue.memo.name = %(p_name)s::VARCHAR AND depqueue.memo.keep_until > statement_timestamp()
