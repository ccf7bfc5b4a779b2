-- Seconds until the next delayed job is due, and until the next lease expires (NULL: there is none).
SELECT (SELECT CAST(EXTRACT(EPOCH
    FROM (min(depqueue.wait.due_at) - statement_timestamp())) AS float8) AS anon_1
FROM depqueue.wait) AS due, (SELECT CAST(EXTRACT(EPOCH
    FROM (min(depqueue.consumer.leased_until) - statement_timestamp())) AS float8) AS anon_2
FROM depqueue.consumer) AS expiry
