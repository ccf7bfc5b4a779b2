-- Which of the ids are jobs in the hot table.
SELECT depqueue.job.job_id
FROM depqueue.job
WHERE depqueue.job.job_id = ANY (%(ids)s::UUID[])
