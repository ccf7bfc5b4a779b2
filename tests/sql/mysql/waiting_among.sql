-- Which of some jobs are delayed or blocked.
SELECT depqueue_wait.job_id, depqueue_wait.due_at IS NOT NULL AS anon_1
FROM depqueue_wait
WHERE depqueue_wait.job_id IN %(ids)s
