-- The database's clock.
SELECT CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) AS anon_1
