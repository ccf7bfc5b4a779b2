-- The database's clock.
SELECT statement_timestamp() AS anon_1
