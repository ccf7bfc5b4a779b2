-- Forget a registered worker.
DELETE FROM depqueue_consumer WHERE depqueue_consumer.id = :p_id AND depqueue_consumer.kind = 2
