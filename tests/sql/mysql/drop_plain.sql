-- ... and take them out of the hot table.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.seq IN %(seqs)s AND depqueue_job.lease_token = %(p_token)s AND (flags & 2) = 0;
SELECT depqueue_job.queue_id AS key_0, depqueue_job.`rank` AS key_1, depqueue_job.seq AS key_2,
    depqueue_job.seq
FROM depqueue_job FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_job.seq IN %(seqs)s AND depqueue_job.lease_token = %(p_token)s
    AND (flags & 2) = 0 FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_job it FORCE INDEX (PRIMARY) ON it.queue_id = chosen.queue_id
    AND it.`rank` = chosen.`rank` AND it.seq = chosen.seq
