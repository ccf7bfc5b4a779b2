-- One dependency more.
UPDATE depqueue.blocked SET pending=(depqueue.blocked.pending + 1)
    WHERE depqueue.blocked.job_id = %(p_job_id)s::UUID
