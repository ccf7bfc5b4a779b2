-- Let a consumer's lease expire, unless it has shown a sign of life since it was looked at.
UPDATE depqueue.consumer SET session=%(session)s::VARCHAR,
    leased_until=(statement_timestamp() + make_interval(secs => -1.0))
    WHERE depqueue.consumer.id = %(p_id)s::BIGINT
    AND depqueue.consumer.session = %(p_session)s::VARCHAR
    AND depqueue.consumer.beat_at = %(p_beat_at)s::TIMESTAMP WITH TIME ZONE
