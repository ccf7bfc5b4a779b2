-- Take the record of an ended job away.
DELETE FROM depqueue_done WHERE depqueue_done.job_id = :p_job_id RETURNING queue_id, status, flags,
    created_at, CAST(reason AS TEXT) AS reason
