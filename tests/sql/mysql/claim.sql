-- Lease the chosen jobs.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.seq IN %(seqs)s AND depqueue_job.consumer_id IS NULL;
SELECT depqueue_job.queue_id AS key_0, depqueue_job.`rank` AS key_1, depqueue_job.seq AS key_2,
    depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq, %(p_token)s AS lease_token,
    depqueue_job.attempt + 1 AS attempt, depqueue_job.max_attempts, depqueue_job.flags,
    depqueue_job.job_id, depqueue_job.run_at,
    coalesce(((depqueue_job.expires_at - TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6))) / 1e6) <= 0, false) AS expired,
    CASE WHEN coalesce(octet_length(depqueue_job.envelope) <= 16842752,
    true) THEN depqueue_job.envelope END AS envelope,
    CASE WHEN (coalesce(octet_length(depqueue_job.body) <= 16777216, true)
    AND coalesce(octet_length(depqueue_job.envelope) <= 16842752,
    true)) THEN depqueue_job.body END AS body
FROM depqueue_job FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_job.seq IN %(seqs)s AND depqueue_job.consumer_id IS NULL FOR UPDATE;
UPDATE depqueue_job FORCE INDEX (PRIMARY) SET consumer_id=%(p_consumer)s, lease_token=%(p_token)s,
    claimed_at=TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)),
    attempt=(depqueue_job.attempt + 1) WHERE <keys>
