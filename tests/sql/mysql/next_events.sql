-- Seconds until the next delayed job is due, and until the next lease expires (NULL: there is none).
SELECT (SELECT ((min(depqueue_wait.due_at) - TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6))) / 1e6) AS anon_1
FROM depqueue_wait) AS due,
    (SELECT ((min(depqueue_consumer.leased_until) - TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6))) / 1e6) AS anon_2
FROM depqueue_consumer) AS expiry
