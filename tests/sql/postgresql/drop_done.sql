-- Forget records of ended jobs.
DELETE FROM depqueue.done WHERE depqueue.done.job_id = ANY (%(ids)s::UUID[])
