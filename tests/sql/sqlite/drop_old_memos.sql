-- Forget memos that are out of time.
DELETE FROM depqueue_memo
    WHERE depqueue_memo.keep_until < CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)
