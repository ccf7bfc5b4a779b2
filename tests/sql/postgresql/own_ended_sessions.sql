WITH alive AS MATERIALIZED (SELECT pid, backend_start FROM pg_stat_get_activity(NULL))
SELECT c.id, c.session, c.beat_at FROM depqueue.consumer c
WHERE split_part(c.session, ' ', 3) = extract(epoch FROM pg_postmaster_start_time())::text AND NOT
    EXISTS (
  SELECT FROM alive a WHERE a.pid = split_part(c.session, ' ', 1)::int
    AND coalesce(extract(epoch FROM a.backend_start)::text = split_part(c.session, ' ', 2), true))
