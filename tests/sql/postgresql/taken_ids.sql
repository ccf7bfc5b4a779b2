-- Which of the ids are taken by delayed, blocked or ended jobs.
SELECT depqueue.wait.job_id
FROM depqueue.wait
WHERE depqueue.wait.job_id = ANY (%(ids)s::UUID[]) UNION ALL SELECT depqueue.done.job_id
FROM depqueue.done
WHERE depqueue.done.job_id = ANY (%(ids)s::UUID[])
