-- A job waits no more for what it depends on.
UPDATE depqueue.dep SET met=%(met)s WHERE depqueue.dep.job_id = %(p_job_id)s::UUID
    AND NOT depqueue.dep.met
