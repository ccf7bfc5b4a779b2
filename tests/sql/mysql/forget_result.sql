-- Forget what a job gave; how it ended is kept for those that depend on it.
UPDATE depqueue_done FORCE INDEX (PRIMARY) SET result=%(result)s, meta=%(meta)s
    WHERE depqueue_done.job_id = %(p_job_id)s
