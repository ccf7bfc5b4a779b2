-- Who holds those that a consumer was thought to have left behind.
SELECT depqueue.consumer.id
FROM depqueue.consumer
WHERE depqueue.consumer.kind = 4 AND depqueue.consumer.name = %(p_name)s::VARCHAR
