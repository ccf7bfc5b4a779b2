-- Renew a lease that stands by itself, to at least so many seconds.
UPDATE depqueue_consumer SET beat_at=CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER),
    leased_until=MAX(depqueue_consumer.leased_until,
    (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(:p_lease * 1000000 AS INTEGER)))
    WHERE depqueue_consumer.id = :p_id AND depqueue_consumer.kind = 1
