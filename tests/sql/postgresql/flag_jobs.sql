-- Note that jobs in the hot table have dependents.
UPDATE depqueue.job SET flags=(depqueue.job.flags | 2)
    WHERE depqueue.job.job_id = ANY (%(ids)s::UUID[])
