-- How some jobs ended.
SELECT depqueue_done.job_id, depqueue_done.status, depqueue_done.result, depqueue_done.reason
FROM depqueue_done
WHERE depqueue_done.job_id IN %(ids)s
