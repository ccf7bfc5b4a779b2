-- Let a consumer's lease expire, unless it has shown a sign of life since it was looked at.
UPDATE depqueue_consumer FORCE INDEX (PRIMARY) SET session=%(session)s,
    leased_until=(TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) + CAST(-1.0 * 1000000 AS SIGNED)) WHERE depqueue_consumer.id = %(p_id)s
    AND depqueue_consumer.session = %(p_session)s AND depqueue_consumer.beat_at = %(p_beat_at)s
