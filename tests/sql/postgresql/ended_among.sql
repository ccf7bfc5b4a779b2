-- How some jobs ended.
SELECT depqueue.done.job_id, depqueue.done.status, depqueue.done.result, depqueue.done.reason
FROM depqueue.done
WHERE depqueue.done.job_id = ANY (%(ids)s::UUID[])
