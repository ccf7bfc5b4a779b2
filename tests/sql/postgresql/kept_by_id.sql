-- For how long some records are kept: the latest by id, where ids tell the time, else random ones.
SELECT depqueue.done.keep_until, depqueue.done.finished_at
FROM depqueue.done ORDER BY depqueue.done.job_id DESC
LIMIT 200
