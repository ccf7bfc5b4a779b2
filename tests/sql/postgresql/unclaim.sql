-- Undo claims by token, as if they had not been.
UPDATE depqueue.job SET consumer_id=%(consumer_id)s::BIGINT, lease_token=%(lease_token)s::BIGINT,
    attempt=(depqueue.job.attempt - 1) WHERE depqueue.job.consumer_id = %(p_consumer)s::BIGINT
    AND depqueue.job.lease_token = ANY (%(tokens)s::BIGINT[])
