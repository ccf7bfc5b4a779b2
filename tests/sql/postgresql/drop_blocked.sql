-- Forget counters.
DELETE FROM depqueue.blocked WHERE depqueue.blocked.job_id = ANY (%(ids)s::UUID[])
