-- The same for jobs that nobody has seen: as if they had not been claimed.
SELECT depqueue_job.queue_id AS key_0, depqueue_job.`rank` AS key_1, depqueue_job.seq AS key_2,
    depqueue_job.seq
FROM depqueue_job FORCE INDEX (PRIMARY)
WHERE depqueue_job.queue_id IN %(queues)s AND depqueue_job.`rank` IN %(ranks)s
    AND depqueue_job.seq IN %(seqs)s
    AND depqueue_job.lease_token - depqueue_job.seq IN %(differences)s FOR UPDATE;
UPDATE depqueue_job FORCE INDEX (PRIMARY) SET consumer_id=%(consumer_id)s,
    lease_token=%(lease_token)s, attempt=(depqueue_job.attempt - 1) WHERE <keys>
