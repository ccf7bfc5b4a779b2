-- Renew a lease that stands by itself, to at least so many seconds.
UPDATE depqueue_consumer FORCE INDEX (PRIMARY) SET beat_at=TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)), leased_until=GREATEST(depqueue_consumer.leased_until,
    (TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) + CAST(%(p_lease)s * 1000000 AS SIGNED)))
    WHERE depqueue_consumer.id = %(p_id)s AND depqueue_consumer.kind = 1
