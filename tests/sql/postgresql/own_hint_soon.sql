SELECT pg_notify(%(prefix)s::text || q, '') FROM unnest(%(queues)s::int[]) AS u(q)
WHERE EXISTS (SELECT 1 FROM depqueue.consumer WHERE waiting)
    AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
