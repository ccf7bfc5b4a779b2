-- One dependency less.
UPDATE depqueue.blocked SET pending=(depqueue.blocked.pending - 1)
    WHERE depqueue.blocked.job_id = ANY (%(ids)s::UUID[])
