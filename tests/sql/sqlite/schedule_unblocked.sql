-- Those that are delayed wait for their time now.
UPDATE depqueue_wait SET due_at=depqueue_wait.run_at WHERE depqueue_wait.job_id IN (SELECT value
    FROM json_each(:ids)) RETURNING queue_id
