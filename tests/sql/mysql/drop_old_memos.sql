-- Forget memos that are out of time.
DELETE FROM depqueue_memo WHERE depqueue_memo.keep_until < TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6))
