-- Forget what a job gave; how it ended is kept for those that depend on it.
UPDATE depqueue.done SET result=%(result)s, meta=%(meta)s
    WHERE depqueue.done.job_id = %(p_job_id)s::UUID
