-- The same for ended ones: their records are kept as long as a dependent lives.
UPDATE depqueue.done SET flags=(depqueue.done.flags | 2)
    WHERE depqueue.done.job_id = ANY (%(ids)s::UUID[]) AND (flags & 2) = 0
