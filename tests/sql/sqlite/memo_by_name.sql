-- A memo.
SELECT depqueue_memo.value
FROM depqueue_memo
WHERE depqueue_memo.name = :p_name
    AND depqueue_memo.keep_until > CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)
