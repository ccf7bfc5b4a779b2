-- Live again after having been declared dead.
UPDATE depqueue_consumer FORCE INDEX (PRIMARY) SET kind=%(kind)s, session=%(session)s,
    beat_at=TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)),
    leased_until=(TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) + CAST(%(p_lease)s * 1000000 AS SIGNED)) WHERE depqueue_consumer.id = %(p_id)s
