-- Forget counters.
DELETE FROM depqueue_blocked WHERE depqueue_blocked.job_id IN (SELECT value FROM json_each(:ids))
