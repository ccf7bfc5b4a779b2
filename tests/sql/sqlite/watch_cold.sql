-- The same for those that wait.
UPDATE depqueue_wait SET flags=(depqueue_wait.flags | 32)
    WHERE depqueue_wait.job_id IN (SELECT value FROM json_each(:ids)) AND (flags & 32) = 0
