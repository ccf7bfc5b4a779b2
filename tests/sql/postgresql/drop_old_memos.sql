-- Forget memos that are out of time.
DELETE FROM depqueue.memo WHERE depqueue.memo.keep_until < statement_timestamp()
