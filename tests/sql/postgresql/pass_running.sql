-- Let such jobs stand under another lease.
UPDATE depqueue.job SET consumer_id=%(p_consumer)s::BIGINT
    WHERE depqueue.job.consumer_id = %(p_from)s::BIGINT AND (flags & 16) != 0
