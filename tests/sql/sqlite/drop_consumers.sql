-- Forget consumers.
DELETE FROM depqueue_consumer WHERE depqueue_consumer.id IN (SELECT value FROM json_each(:ids))
