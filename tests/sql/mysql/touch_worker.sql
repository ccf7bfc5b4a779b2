-- A registered worker was seen.
UPDATE depqueue_consumer FORCE INDEX (PRIMARY) SET beat_at=TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) WHERE depqueue_consumer.id = %(p_id)s AND depqueue_consumer.kind = 2
