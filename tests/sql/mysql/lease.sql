-- Lease jobs that are locked.
UPDATE depqueue_job FORCE INDEX (PRIMARY) SET consumer_id=%(p_consumer)s, lease_token=%(p_token)s,
    claimed_at=TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)),
    attempt=(depqueue_job.attempt + 1) WHERE depqueue_job.queue_id IN %(queues)s
    AND depqueue_job.`rank` IN %(ranks)s AND depqueue_job.seq IN %(seqs)s
