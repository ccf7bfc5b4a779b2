-- The same in the cold table.
UPDATE depqueue.wait SET flags=(depqueue.wait.flags | 2)
    WHERE depqueue.wait.job_id = ANY (%(ids)s::UUID[])
