-- Lock dependencies that are delayed or blocked.
SELECT depqueue.wait.job_id, depqueue.wait.flags
FROM depqueue.wait
WHERE depqueue.wait.job_id = ANY (%(ids)s::UUID[]) ORDER BY depqueue.wait.job_id FOR NO KEY UPDATE
