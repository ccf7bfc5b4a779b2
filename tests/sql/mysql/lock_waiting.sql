-- Lock dependencies that are delayed or blocked.
SELECT depqueue_wait.seq
FROM depqueue_wait
WHERE depqueue_wait.job_id IN %(ids)s ORDER BY depqueue_wait.job_id;
SELECT depqueue_wait.seq AS key_0, depqueue_wait.job_id, depqueue_wait.flags
FROM depqueue_wait FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_wait.job_id IN %(ids)s ORDER BY depqueue_wait.job_id FOR UPDATE
