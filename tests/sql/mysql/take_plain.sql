-- Take held jobs that nobody depends on, as far as their end records need them.
SELECT depqueue_job.queue_id AS key_0, depqueue_job.`rank` AS key_1, depqueue_job.seq AS key_2,
    depqueue_job.seq, depqueue_job.job_id, depqueue_job.queue_id, depqueue_job.flags,
    depqueue_job.attempt, depqueue_job.created_at, depqueue_job.claimed_at
FROM depqueue_job FORCE INDEX (PRIMARY)
WHERE depqueue_job.queue_id IN %(queues)s AND depqueue_job.`rank` IN %(ranks)s
    AND depqueue_job.seq IN %(seqs)s AND depqueue_job.lease_token IN %(tokens)s
    AND (flags & 2) = 0 FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_job it FORCE INDEX (PRIMARY) ON it.queue_id = chosen.queue_id
    AND it.`rank` = chosen.`rank` AND it.seq = chosen.seq
