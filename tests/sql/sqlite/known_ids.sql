-- Which of the ids are jobs, live or ended.

        One statement, and so one snapshot: between two looks a job may move from the table of the second to that of
        the first.
        
SELECT depqueue_job.job_id
FROM depqueue_job
WHERE depqueue_job.job_id IN (SELECT value FROM json_each(:ids))
    UNION ALL SELECT depqueue_wait.job_id
FROM depqueue_wait
WHERE depqueue_wait.job_id IN (SELECT value FROM json_each(:ids))
    UNION ALL SELECT depqueue_done.job_id
FROM depqueue_done
WHERE depqueue_done.job_id IN (SELECT value FROM json_each(:ids))
