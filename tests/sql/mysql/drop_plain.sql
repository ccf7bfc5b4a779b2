-- Take jobs that are locked out of the hot table (see `Stepwise.wipe`).
SELECT depqueue_job.queue_id AS key_0, depqueue_job.`rank` AS key_1, depqueue_job.seq AS key_2
FROM depqueue_job FORCE INDEX (PRIMARY)
WHERE depqueue_job.queue_id IN %(queues)s AND depqueue_job.`rank` IN %(ranks)s
    AND depqueue_job.seq IN %(seqs)s FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_job it FORCE INDEX (PRIMARY) ON it.queue_id = chosen.queue_id
    AND it.`rank` = chosen.`rank` AND it.seq = chosen.seq
