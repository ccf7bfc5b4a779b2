-- Registered workers and living consumers not seen for p_age seconds.
SELECT depqueue_consumer.id, depqueue_consumer.name, depqueue_consumer.channel,
    depqueue_consumer.info, depqueue_consumer.started_at, depqueue_consumer.beat_at
FROM depqueue_consumer
WHERE depqueue_consumer.kind IN (0, 2)
    AND ((depqueue_consumer.beat_at - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) + :p_age <= 0
    ORDER BY depqueue_consumer.started_at
