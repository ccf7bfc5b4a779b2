-- What such records take from jobs that are locked, where each has an ending of its own.
SELECT depqueue_job.seq, depqueue_job.job_id, depqueue_job.queue_id, depqueue_job.flags,
    depqueue_job.attempt, depqueue_job.created_at, depqueue_job.claimed_at
FROM depqueue_job FORCE INDEX (PRIMARY)
WHERE depqueue_job.queue_id IN %(queues)s AND depqueue_job.`rank` IN %(ranks)s
    AND depqueue_job.seq IN %(seqs)s AND depqueue_job.job_id IS NOT NULL
