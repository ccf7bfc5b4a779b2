-- Seconds until the next delayed job is due, and until the next lease expires (NULL: there is none).
SELECT (SELECT ((min(depqueue_wait.due_at) - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) AS anon_1
FROM depqueue_wait) AS due,
    (SELECT ((min(depqueue_consumer.leased_until) - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) AS anon_2
FROM depqueue_consumer) AS expiry
