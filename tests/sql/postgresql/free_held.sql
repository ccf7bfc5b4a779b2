-- Make the jobs of dead consumers ready again; their tokens stay good until they are handed out again.
UPDATE depqueue.job SET consumer_id=%(consumer_id)s::BIGINT, flags=(depqueue.job.flags | 8)
    WHERE depqueue.job.consumer_id = ANY (%(ids)s::BIGINT[]) AND (flags & 16) = 0
    RETURNING depqueue.job.queue_id
