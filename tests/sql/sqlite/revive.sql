-- Live again after having been declared dead.
UPDATE depqueue_consumer SET kind=:kind, session=:session,
    beat_at=CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER),
    leased_until=(CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(:p_lease * 1000000 AS INTEGER))
    WHERE depqueue_consumer.id = :p_id
