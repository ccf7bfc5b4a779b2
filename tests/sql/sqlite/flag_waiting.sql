-- The same in the cold table.
UPDATE depqueue_wait SET flags=(depqueue_wait.flags | 2) WHERE depqueue_wait.job_id IN (SELECT value
    FROM json_each(:ids))
