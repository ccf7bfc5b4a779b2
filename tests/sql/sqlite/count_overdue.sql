-- How many leases ran out more than p_age seconds ago, and nobody has seen to it.
SELECT count(*) AS count_1
FROM (SELECT depqueue_consumer.id AS id
FROM depqueue_consumer
WHERE ((depqueue_consumer.leased_until - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) + :p_age < 0
    AND depqueue_consumer.kind != 3
LIMIT 10001 OFFSET :param_1) AS anon_1
