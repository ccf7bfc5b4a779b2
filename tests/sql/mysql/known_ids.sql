-- Which of the ids are jobs, live or ended, and when these were enqueued.

        One statement, and so one snapshot: between two looks a job may move from the table of the second to that of
        the first.
        
SELECT depqueue_job.job_id, depqueue_job.created_at
FROM depqueue_job
WHERE depqueue_job.job_id IN %(ids)s UNION ALL SELECT depqueue_wait.job_id, depqueue_wait.created_at
FROM depqueue_wait
WHERE depqueue_wait.job_id IN %(ids)s UNION ALL SELECT depqueue_done.job_id,
    depqueue_done.created_at
FROM depqueue_done
WHERE depqueue_done.job_id IN %(ids)s
