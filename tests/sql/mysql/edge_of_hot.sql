-- Where a look at ready and leased jobs ends.
SELECT depqueue_job.job_id
FROM depqueue_job
WHERE depqueue_job.job_id IS NOT NULL AND depqueue_job.job_id < %(p_before)s
    ORDER BY depqueue_job.job_id DESC
LIMIT %(p_rows)s, 1
