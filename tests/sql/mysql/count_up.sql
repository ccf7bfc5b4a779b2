-- One dependency more.
UPDATE depqueue_blocked FORCE INDEX (PRIMARY) SET pending=(depqueue_blocked.pending + 1)
    WHERE depqueue_blocked.job_id = %(p_job_id)s
