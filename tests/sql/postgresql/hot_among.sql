-- Which of some jobs are ready or leased.
SELECT depqueue.job.job_id, depqueue.job.consumer_id IS NOT NULL AS anon_1, depqueue.job.flags
FROM depqueue.job
WHERE depqueue.job.job_id = ANY (%(ids)s::UUID[])
