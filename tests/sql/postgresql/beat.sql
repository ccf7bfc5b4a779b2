-- Renew leases; `waiting`: wants to be woken up.
UPDATE depqueue.consumer SET waiting=%(p_waiting)s, beat_at=statement_timestamp(),
    leased_until=GREATEST(depqueue.consumer.leased_until,
    (statement_timestamp() + make_interval(secs => %(p_lease)s)))
    WHERE depqueue.consumer.id = ANY (%(ids)s::BIGINT[]) AND depqueue.consumer.kind != 3
