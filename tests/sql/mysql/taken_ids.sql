-- Which of the ids are taken by delayed, blocked or ended jobs.
SELECT depqueue_wait.job_id
FROM depqueue_wait
WHERE depqueue_wait.job_id IN %(ids)s UNION ALL SELECT depqueue_done.job_id
FROM depqueue_done
WHERE depqueue_done.job_id IN %(ids)s
