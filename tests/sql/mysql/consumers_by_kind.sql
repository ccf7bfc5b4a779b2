-- How many consumers there are of each kind, and the longest time since one was heard of, and to go.
SELECT some.kind, count(*) AS count_1, -((min(some.beat_at) - TIMESTAMPDIFF(MICROSECOND,
    '1970-01-01', UTC_TIMESTAMP(6))) / 1e6) AS anon_1,
    sum(CASE WHEN (((some.leased_until - TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6))) / 1e6) < 0.0) THEN 1 ELSE 0 END) AS sum_1
FROM (SELECT depqueue_consumer.kind AS kind, depqueue_consumer.beat_at AS beat_at,
    depqueue_consumer.leased_until AS leased_until
FROM depqueue_consumer
LIMIT 10001) AS some GROUP BY some.kind
