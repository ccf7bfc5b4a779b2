-- Those that wait for none any more.
DELETE FROM depqueue_blocked WHERE depqueue_blocked.job_id IN (SELECT value FROM json_each(:ids))
    AND depqueue_blocked.pending <= 0 RETURNING job_id
