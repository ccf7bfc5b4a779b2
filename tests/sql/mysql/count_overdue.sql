-- How many leases ran out more than p_age seconds ago, and nobody has seen to it.
SELECT count(*) AS count_1
FROM (SELECT depqueue_consumer.id AS id
FROM depqueue_consumer
WHERE ((depqueue_consumer.leased_until - TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6))) / 1e6) + %(p_age)s < 0 AND depqueue_consumer.kind != 3
LIMIT 10001) AS anon_1
