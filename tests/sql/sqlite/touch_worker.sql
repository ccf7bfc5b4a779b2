-- A registered worker was seen.
UPDATE depqueue_consumer SET beat_at=CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)
    WHERE depqueue_consumer.id = :p_id AND depqueue_consumer.kind = 2
