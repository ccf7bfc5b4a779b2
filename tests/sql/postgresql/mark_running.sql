-- Held jobs were acked before their outcome is known: they are never to be handed out again.
UPDATE depqueue.job SET flags=(depqueue.job.flags | 16)
    WHERE depqueue.job.queue_id = ANY (%(queues)s::BIGINT[])
    AND depqueue.job.rank = ANY (%(ranks)s::BIGINT[])
    AND depqueue.job.seq = ANY (%(seqs)s::BIGINT[])
    AND depqueue.job.lease_token - depqueue.job.seq = ANY (%(differences)s::BIGINT[])
    AND depqueue.job.consumer_id IS NOT NULL
