-- Forget records of ended jobs.
DELETE FROM depqueue_done WHERE depqueue_done.job_id IN (SELECT value FROM json_each(:ids))
