-- The same for ended ones: their records are kept as long as a dependent lives.
UPDATE depqueue_done FORCE INDEX (PRIMARY) SET flags=(depqueue_done.flags | 2)
    WHERE depqueue_done.job_id IN %(ids)s AND (flags & 2) = 0
