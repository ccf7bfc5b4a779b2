-- Note that jobs in the hot table have dependents.
UPDATE depqueue_job SET flags=(depqueue_job.flags | 2) WHERE depqueue_job.job_id IN (SELECT value
    FROM json_each(:ids))
