-- Renew a lease that stands by itself, to at least so many seconds.
UPDATE depqueue.consumer SET beat_at=statement_timestamp(),
    leased_until=GREATEST(depqueue.consumer.leased_until,
    (statement_timestamp() + make_interval(secs => %(p_lease)s)))
    WHERE depqueue.consumer.id = %(p_id)s::BIGINT AND depqueue.consumer.kind = 1
