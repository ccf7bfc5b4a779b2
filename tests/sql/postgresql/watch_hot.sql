-- Somebody waits for the ends of these jobs.
UPDATE depqueue.job SET flags=(depqueue.job.flags | 32)
    WHERE depqueue.job.job_id = ANY (%(ids)s::UUID[]) AND (flags & 32) = 0
