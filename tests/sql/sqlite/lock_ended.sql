-- Dependencies that have ended, kept from being pruned meanwhile.
SELECT depqueue_done.job_id, depqueue_done.status
FROM depqueue_done
WHERE depqueue_done.job_id IN (SELECT value FROM json_each(:ids))
