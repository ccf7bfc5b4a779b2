-- Which of the ids are jobs, live or ended, and when these were enqueued.

        One statement, and so one snapshot: between two looks a job may move from the table of the second to that of
        the first.
        
SELECT depqueue.job.job_id, depqueue.job.created_at
FROM depqueue.job
WHERE depqueue.job.job_id = ANY (%(ids)s::UUID[]) UNION ALL SELECT depqueue.wait.job_id,
    depqueue.wait.created_at
FROM depqueue.wait
WHERE depqueue.wait.job_id = ANY (%(ids)s::UUID[]) UNION ALL SELECT depqueue.done.job_id,
    depqueue.done.created_at
FROM depqueue.done
WHERE depqueue.done.job_id = ANY (%(ids)s::UUID[])
