-- Who holds those that a consumer was thought to have left behind.
SELECT depqueue_consumer.id
FROM depqueue_consumer
WHERE depqueue_consumer.kind = 4 AND depqueue_consumer.name = %(p_name)s
