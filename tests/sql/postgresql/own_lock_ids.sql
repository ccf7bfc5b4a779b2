SELECT pg_advisory_xact_lock(%(space)s::int4, u.bucket)
    FROM unnest(%(buckets)s::int4[]) AS u(bucket)
