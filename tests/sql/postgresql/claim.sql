-- Lease the chosen jobs.
UPDATE depqueue.job SET consumer_id=%(p_consumer)s::BIGINT, lease_token=%(p_token)s::BIGINT,
    claimed_at=statement_timestamp(), attempt=(depqueue.job.attempt + 1)
    WHERE depqueue.job.seq = ANY (%(seqs)s::BIGINT[]) AND depqueue.job.consumer_id IS NULL
    RETURNING depqueue.job.queue_id, depqueue.job.rank, depqueue.job.seq, depqueue.job.lease_token,
    depqueue.job.attempt, depqueue.job.max_attempts, depqueue.job.flags, depqueue.job.job_id,
    depqueue.job.run_at, coalesce(CAST(EXTRACT(EPOCH
    FROM (depqueue.job.expires_at - statement_timestamp())) AS float8) <= 0, false) AS expired,
    CASE WHEN coalesce(octet_length(depqueue.job.envelope) <= 16842752,
    true) THEN depqueue.job.envelope END AS envelope,
    CASE WHEN (coalesce(octet_length(depqueue.job.body) <= 16777216, true)
    AND coalesce(octet_length(depqueue.job.envelope) <= 16842752,
    true)) THEN depqueue.job.body END AS body
