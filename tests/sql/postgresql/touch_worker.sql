-- A registered worker was seen.
UPDATE depqueue.consumer SET beat_at=statement_timestamp()
    WHERE depqueue.consumer.id = %(p_id)s::BIGINT AND depqueue.consumer.kind = 2
