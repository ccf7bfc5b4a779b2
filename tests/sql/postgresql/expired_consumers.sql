-- Consumers whose lease has expired, and dead ones whose last claims must be over by now.
SELECT depqueue.consumer.id, depqueue.consumer.kind
FROM depqueue.consumer
WHERE depqueue.consumer.leased_until < statement_timestamp()
LIMIT 100 FOR UPDATE SKIP LOCKED
