-- All exchanges by name.
SELECT depqueue.exchange.name
FROM depqueue.exchange ORDER BY depqueue.exchange.name
