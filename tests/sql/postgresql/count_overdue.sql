-- How many leases ran out more than p_age seconds ago, and nobody has seen to it.
SELECT count(*) AS count_1
FROM (SELECT depqueue.consumer.id AS id
FROM depqueue.consumer
WHERE CAST(EXTRACT(EPOCH
    FROM (depqueue.consumer.leased_until - statement_timestamp())) AS float8) + %(p_age)s < 0
    AND depqueue.consumer.kind != 3
LIMIT 10001) AS anon_1
