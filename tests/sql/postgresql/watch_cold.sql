-- The same for those that wait.
UPDATE depqueue.wait SET flags=(depqueue.wait.flags | 32)
    WHERE depqueue.wait.job_id = ANY (%(ids)s::UUID[]) AND (flags & 32) = 0
