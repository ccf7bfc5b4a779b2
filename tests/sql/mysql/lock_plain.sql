-- Lock held jobs that nobody depends on.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq
FROM depqueue_job FORCE INDEX (PRIMARY)
WHERE depqueue_job.queue_id IN %(queues)s AND depqueue_job.`rank` IN %(ranks)s
    AND depqueue_job.seq IN %(seqs)s
    AND depqueue_job.lease_token - depqueue_job.seq IN %(differences)s
    AND (flags & 2) = 0 FOR UPDATE
