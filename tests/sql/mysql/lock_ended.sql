-- Dependencies that have ended, kept from being pruned meanwhile.
SELECT depqueue_done.job_id AS key_0, depqueue_done.job_id, depqueue_done.status
FROM depqueue_done FORCE INDEX (PRIMARY)
WHERE depqueue_done.job_id IN %(ids)s LOCK IN SHARE MODE
