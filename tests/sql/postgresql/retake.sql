-- Lease again jobs whose lease expired, but which nobody was given yet.
UPDATE depqueue.job SET consumer_id=%(p_consumer)s::BIGINT
    WHERE depqueue.job.lease_token = ANY (%(tokens)s::BIGINT[])
    AND depqueue.job.job_id = ANY (%(ids)s::UUID[]) AND depqueue.job.consumer_id IS NULL
