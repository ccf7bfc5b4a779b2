-- Consumers whose lease has expired, and dead ones whose last claims must be over by now.
SELECT depqueue_consumer.id
FROM depqueue_consumer
WHERE depqueue_consumer.leased_until < TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))
LIMIT 100;
SELECT depqueue_consumer.id AS key_0, depqueue_consumer.id, depqueue_consumer.kind
FROM depqueue_consumer FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_consumer.leased_until < TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) FOR UPDATE SKIP LOCKED
