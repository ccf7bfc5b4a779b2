-- Those that are delayed wait for their time now.
UPDATE depqueue.wait SET due_at=depqueue.wait.run_at
    WHERE depqueue.wait.job_id = ANY (%(ids)s::UUID[]) RETURNING depqueue.wait.queue_id
