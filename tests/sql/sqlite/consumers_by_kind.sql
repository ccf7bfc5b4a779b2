-- How many consumers there are of each kind, and the longest time since one was heard of, and to go.
SELECT some.kind, count(*) AS count_1,
    -((min(some.beat_at) - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) AS anon_1,
    sum(CASE WHEN (((some.leased_until - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) < 0.0) THEN 1 ELSE 0 END) AS sum_1
FROM (SELECT depqueue_consumer.kind AS kind, depqueue_consumer.beat_at AS beat_at,
    depqueue_consumer.leased_until AS leased_until
FROM depqueue_consumer
LIMIT 10001 OFFSET :param_1) AS some GROUP BY some.kind
