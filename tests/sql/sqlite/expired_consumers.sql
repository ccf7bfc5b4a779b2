-- Consumers whose lease has expired, and dead ones whose last claims must be over by now.
SELECT depqueue_consumer.id, depqueue_consumer.kind
FROM depqueue_consumer
WHERE depqueue_consumer.leased_until < CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)
LIMIT 100 OFFSET :param_1
