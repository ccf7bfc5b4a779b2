-- All exchanges by name.
SELECT depqueue_exchange.name
FROM depqueue_exchange ORDER BY depqueue_exchange.name
