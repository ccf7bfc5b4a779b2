-- Say which session of the database lives as long as the consumer does (NULL: none).
UPDATE depqueue.consumer SET session=%(p_session)s::VARCHAR, beat_at=statement_timestamp()
    WHERE depqueue.consumer.id = %(p_id)s::BIGINT
