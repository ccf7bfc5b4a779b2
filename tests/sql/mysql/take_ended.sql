-- Take the record of an ended job away.
SELECT depqueue_done.job_id AS key_0, depqueue_done.queue_id, depqueue_done.status,
    depqueue_done.flags, depqueue_done.created_at, CAST(depqueue_done.reason AS CHAR) AS reason
FROM depqueue_done FORCE INDEX (PRIMARY)
WHERE depqueue_done.job_id = %(p_job_id)s FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_done it FORCE INDEX (PRIMARY) ON it.job_id = chosen.job_id
