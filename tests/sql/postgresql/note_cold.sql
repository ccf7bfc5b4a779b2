-- The same of a job that is to be tried again later.
UPDATE depqueue.wait SET meta=%(p_meta)s WHERE depqueue.wait.job_id = %(p_job_id)s::UUID
