-- Take the record of an ended job away.
DELETE FROM depqueue.done WHERE depqueue.done.job_id = %(p_job_id)s::UUID
    RETURNING depqueue.done.queue_id, depqueue.done.status, depqueue.done.flags,
    depqueue.done.created_at, CAST(depqueue.done.reason AS TEXT) AS reason
