-- Declare consumers dead, but keep them a while: see ConsumerKind.DEAD.
UPDATE depqueue_consumer SET kind=:kind, waiting=:waiting,
    leased_until=(CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(:p_grace * 1000000 AS INTEGER))
    WHERE depqueue_consumer.id IN (SELECT value FROM json_each(:ids))
