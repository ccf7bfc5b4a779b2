-- Let a consumer's lease expire, unless it has shown a sign of life since it was looked at.
UPDATE depqueue_consumer SET session=:session,
    leased_until=(CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(-1.0 * 1000000 AS INTEGER))
    WHERE depqueue_consumer.id = :p_id AND depqueue_consumer.session = :p_session
    AND depqueue_consumer.beat_at = :p_beat_at
