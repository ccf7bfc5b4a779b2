-- Which of some jobs are ready or leased.
SELECT depqueue_job.job_id, depqueue_job.consumer_id IS NOT NULL AS anon_1, depqueue_job.flags
FROM depqueue_job
WHERE depqueue_job.job_id IN %(ids)s
