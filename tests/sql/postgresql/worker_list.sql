-- Registered workers and living consumers not seen for p_age seconds.
SELECT depqueue.consumer.id, depqueue.consumer.name, depqueue.consumer.channel,
    depqueue.consumer.info, depqueue.consumer.started_at, depqueue.consumer.beat_at
FROM depqueue.consumer
WHERE depqueue.consumer.kind IN (0, 2) AND CAST(EXTRACT(EPOCH
    FROM (depqueue.consumer.beat_at - statement_timestamp())) AS float8) + %(p_age)s <= 0
    ORDER BY depqueue.consumer.started_at
