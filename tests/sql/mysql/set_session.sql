-- Say which session of the database lives as long as the consumer does (NULL: none).
UPDATE depqueue_consumer FORCE INDEX (PRIMARY) SET session=%(p_session)s,
    beat_at=TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))
    WHERE depqueue_consumer.id = %(p_id)s
