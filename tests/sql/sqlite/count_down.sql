-- One dependency less.
UPDATE depqueue_blocked SET pending=(depqueue_blocked.pending - 1)
    WHERE depqueue_blocked.job_id IN (SELECT value FROM json_each(:ids))
