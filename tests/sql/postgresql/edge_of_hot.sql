-- Where a look at ready and leased jobs ends.
SELECT depqueue.job.job_id
FROM depqueue.job
WHERE depqueue.job.job_id IS NOT NULL AND depqueue.job.job_id < %(p_before)s::UUID
    ORDER BY depqueue.job.job_id DESC
LIMIT 1 OFFSET %(p_rows)s::INTEGER
