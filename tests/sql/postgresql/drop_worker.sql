-- Forget a registered worker.
DELETE FROM depqueue.consumer WHERE depqueue.consumer.id = %(p_id)s::BIGINT
    AND depqueue.consumer.kind = 2
