-- For how long some records are kept: the latest by id, where ids tell the time, else random ones.
SELECT depqueue_done.keep_until, depqueue_done.finished_at
FROM depqueue_done ORDER BY depqueue_done.job_id DESC
LIMIT 200
