-- ... and take it out of the hot table.
SELECT depqueue_job.queue_id AS key_0, depqueue_job.`rank` AS key_1, depqueue_job.seq AS key_2
FROM depqueue_job FORCE INDEX (PRIMARY)
WHERE depqueue_job.queue_id = %(p_queue)s AND depqueue_job.`rank` = %(p_rank)s
    AND depqueue_job.seq = %(p_seq)s AND depqueue_job.lease_token = %(p_token)s FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_job it FORCE INDEX (PRIMARY) ON it.queue_id = chosen.queue_id
    AND it.`rank` = chosen.`rank` AND it.seq = chosen.seq
