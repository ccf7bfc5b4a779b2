-- How many consumers there are of each kind, and the longest time since one was heard of, and to go.
SELECT "some".kind, count(*) AS count_1, -CAST(EXTRACT(EPOCH
    FROM (min("some".beat_at) - statement_timestamp())) AS float8) AS anon_1,
    sum(CASE WHEN (CAST(EXTRACT(EPOCH
    FROM ("some".leased_until - statement_timestamp())) AS float8) < 0.0) THEN 1 ELSE 0 END) AS sum_1
FROM (SELECT depqueue.consumer.kind AS kind, depqueue.consumer.beat_at AS beat_at,
    depqueue.consumer.leased_until AS leased_until
FROM depqueue.consumer
LIMIT 10001) AS "some" GROUP BY "some".kind
