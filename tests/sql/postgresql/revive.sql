-- Live again after having been declared dead.
UPDATE depqueue.consumer SET kind=%(kind)s::SMALLINT, session=%(session)s::VARCHAR,
    beat_at=statement_timestamp(),
    leased_until=(statement_timestamp() + make_interval(secs => %(p_lease)s))
    WHERE depqueue.consumer.id = %(p_id)s::BIGINT
