-- Renew leases; `waiting`: wants to be woken up.
UPDATE depqueue_consumer SET waiting=:p_waiting,
    beat_at=CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER),
    leased_until=MAX(depqueue_consumer.leased_until,
    (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(:p_lease * 1000000 AS INTEGER)))
    WHERE depqueue_consumer.id IN (SELECT value FROM json_each(:ids))
    AND depqueue_consumer.kind != 3
