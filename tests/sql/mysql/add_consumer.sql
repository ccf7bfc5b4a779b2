-- Register a consumer, a lease that stands by itself, or a worker (no lease).
INSERT INTO depqueue_consumer (id, kind, name, channel, info, started_at, beat_at, leased_until,
    orphan_after, schema_version) VALUES (%(p_id)s, %(p_kind)s, %(p_name)s, %(p_channel)s,
    %(p_info)s, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)),
    TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)), (TIMESTAMPDIFF(MICROSECOND,
    '1970-01-01', UTC_TIMESTAMP(6)) + CAST(%(p_lease)s * 1000000 AS SIGNED)), %(p_orphan_after)s,
    %(p_schema_version)s) ON DUPLICATE KEY UPDATE kind = values(depqueue_consumer.kind),
    name = values(depqueue_consumer.name), channel = values(depqueue_consumer.channel),
    info = values(depqueue_consumer.info), started_at = values(depqueue_consumer.started_at),
    beat_at = values(depqueue_consumer.beat_at),
    leased_until = values(depqueue_consumer.leased_until),
    orphan_after = values(depqueue_consumer.orphan_after),
    schema_version = values(depqueue_consumer.schema_version)
