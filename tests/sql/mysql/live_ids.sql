-- Which of the ids are jobs in the hot table.
SELECT depqueue_job.job_id
FROM depqueue_job
WHERE depqueue_job.job_id IN %(ids)s
