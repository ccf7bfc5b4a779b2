-- Say which session of the database lives as long as the consumer does (NULL: none).
UPDATE depqueue_consumer SET session=:p_session,
    beat_at=CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)
    WHERE depqueue_consumer.id = :p_id
