-- Lease the chosen jobs.
UPDATE depqueue_job SET consumer_id=:p_consumer, lease_token=:p_token,
    claimed_at=CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER),
    attempt=(depqueue_job.attempt + 1) WHERE depqueue_job.seq IN (SELECT value
    FROM json_each(:seqs)) AND depqueue_job.consumer_id IS NULL RETURNING queue_id, rank, seq,
    lease_token, attempt, max_attempts, flags, job_id, run_at,
    coalesce(((expires_at - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) <= 0,
    false) AS expired, CASE WHEN (typeof(envelope) = 'null' OR typeof(envelope) = 'blob'
    AND length(envelope) <= 16842752) THEN envelope END AS envelope,
    CASE WHEN ((typeof(body) = 'null' OR typeof(body) = 'blob' AND length(body) <= 16777216)
    AND (typeof(envelope) = 'null' OR typeof(envelope) = 'blob'
    AND length(envelope) <= 16842752)) THEN body END AS body
