SELECT pid || ' ' || extract(epoch FROM backend_start) || ' ' || extract(epoch
    FROM pg_postmaster_start_time())
FROM pg_stat_get_activity(pg_backend_pid())
