-- The same for ended ones: their records are kept as long as a dependent lives.
UPDATE depqueue_done SET flags=(depqueue_done.flags | 2) WHERE depqueue_done.job_id IN (SELECT value
    FROM json_each(:ids)) AND (flags & 2) = 0
