-- The same where the tables have schema version 1.
INSERT INTO depqueue_consumer (id, kind, name, channel, info, started_at, beat_at, leased_until,
    orphan_after) VALUES (:p_id, :p_kind, :p_name, :p_channel, :p_info,
    CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER),
    CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER),
    (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + CAST(:p_lease * 1000000 AS INTEGER)),
    :p_orphan_after) ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, name = excluded.name,
    channel = excluded.channel, info = excluded.info, started_at = excluded.started_at,
    beat_at = excluded.beat_at, leased_until = excluded.leased_until,
    orphan_after = excluded.orphan_after
