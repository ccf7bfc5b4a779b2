-- One dependency less.
UPDATE depqueue_blocked FORCE INDEX (PRIMARY) SET pending=(depqueue_blocked.pending - 1)
    WHERE depqueue_blocked.job_id IN %(ids)s
