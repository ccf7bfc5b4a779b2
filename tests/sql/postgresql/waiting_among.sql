-- Which of some jobs are delayed or blocked.
SELECT depqueue.wait.job_id, depqueue.wait.due_at IS NOT NULL AS anon_1
FROM depqueue.wait
WHERE depqueue.wait.job_id = ANY (%(ids)s::UUID[])
