-- Somebody waits for the ends of these jobs.
UPDATE depqueue_job SET flags=(depqueue_job.flags | 32) WHERE depqueue_job.job_id IN (SELECT value
    FROM json_each(:ids)) AND (flags & 32) = 0
