-- Make held jobs ready again at their old places, unless their attempts are used up.
UPDATE depqueue.job SET consumer_id=%(consumer_id)s::BIGINT, lease_token=%(lease_token)s::BIGINT,
    flags=(depqueue.job.flags | 8) WHERE depqueue.job.queue_id = ANY (%(queues)s::BIGINT[])
    AND depqueue.job.rank = ANY (%(ranks)s::BIGINT[])
    AND depqueue.job.seq = ANY (%(seqs)s::BIGINT[])
    AND depqueue.job.lease_token - depqueue.job.seq = ANY (%(differences)s::BIGINT[])
    AND (depqueue.job.max_attempts = 0 OR depqueue.job.attempt < depqueue.job.max_attempts)
    RETURNING depqueue.job.seq
