-- Forget consumers.
DELETE FROM depqueue.consumer WHERE depqueue.consumer.id = ANY (%(ids)s::BIGINT[])
