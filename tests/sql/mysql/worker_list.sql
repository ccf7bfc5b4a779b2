-- Registered workers and living consumers not seen for p_age seconds.
SELECT depqueue_consumer.id, depqueue_consumer.name, depqueue_consumer.channel,
    depqueue_consumer.info, depqueue_consumer.started_at, depqueue_consumer.beat_at
FROM depqueue_consumer
WHERE depqueue_consumer.kind IN (0, 2) AND ((depqueue_consumer.beat_at - TIMESTAMPDIFF(MICROSECOND,
    '1970-01-01', UTC_TIMESTAMP(6))) / 1e6) + %(p_age)s <= 0 ORDER BY depqueue_consumer.started_at
