-- Declare consumers dead, but keep them a while: see ConsumerKind.DEAD.
UPDATE depqueue_consumer FORCE INDEX (PRIMARY) SET kind=%(kind)s, waiting=%(waiting)s,
    leased_until=(TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) + CAST(%(p_grace)s * 1000000 AS SIGNED)) WHERE depqueue_consumer.id IN %(ids)s
