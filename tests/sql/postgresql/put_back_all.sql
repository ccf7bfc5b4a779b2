-- The same for jobs that nobody has seen: as if they had not been claimed.
UPDATE depqueue.job SET consumer_id=%(consumer_id)s::BIGINT, lease_token=%(lease_token)s::BIGINT,
    attempt=(depqueue.job.attempt - 1) WHERE depqueue.job.queue_id = ANY (%(queues)s::BIGINT[])
    AND depqueue.job.rank = ANY (%(ranks)s::BIGINT[])
    AND depqueue.job.seq = ANY (%(seqs)s::BIGINT[])
    AND depqueue.job.lease_token - depqueue.job.seq = ANY (%(differences)s::BIGINT[])
    RETURNING depqueue.job.seq
