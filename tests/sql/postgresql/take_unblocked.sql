-- Those that wait for none any more.
DELETE FROM depqueue.blocked WHERE depqueue.blocked.job_id = ANY (%(ids)s::UUID[])
    AND depqueue.blocked.pending <= 0 RETURNING depqueue.blocked.job_id
