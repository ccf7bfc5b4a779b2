-- Declare consumers dead, but keep them a while: see ConsumerKind.DEAD.
UPDATE depqueue.consumer SET kind=%(kind)s::SMALLINT, waiting=%(waiting)s,
    leased_until=(statement_timestamp() + make_interval(secs => %(p_grace)s))
    WHERE depqueue.consumer.id = ANY (%(ids)s::BIGINT[])
