-- The same where the tables have schema version 1.
INSERT INTO depqueue.consumer (id, kind, name, channel, info, started_at, beat_at, leased_until,
    orphan_after) VALUES (%(p_id)s::BIGINT, %(p_kind)s::SMALLINT, %(p_name)s::VARCHAR,
    %(p_channel)s::VARCHAR, %(p_info)s::VARCHAR, statement_timestamp(), statement_timestamp(),
    (statement_timestamp() + make_interval(secs => %(p_lease)s)),
    %(p_orphan_after)s) ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, name = excluded.name,
    channel = excluded.channel, info = excluded.info, started_at = excluded.started_at,
    beat_at = excluded.beat_at, leased_until = excluded.leased_until,
    orphan_after = excluded.orphan_after
