-- Lock dependencies that are delayed or blocked.
SELECT depqueue_wait.job_id, depqueue_wait.flags
FROM depqueue_wait
WHERE depqueue_wait.job_id IN (SELECT value FROM json_each(:ids)) ORDER BY depqueue_wait.job_id
