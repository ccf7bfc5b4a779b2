-- A memo.
SELECT depqueue_memo.value
FROM depqueue_memo
WHERE depqueue_memo.name = %(p_name)s AND depqueue_memo.keep_until > TIMESTAMPDIFF(MICROSECOND,
    '1970-01-01', UTC_TIMESTAMP(6))
