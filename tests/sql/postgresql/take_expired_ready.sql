-- Take ready jobs that have expired.
DELETE FROM depqueue.job WHERE depqueue.job.expires_at <= statement_timestamp()
    AND depqueue.job.consumer_id IS NULL AND depqueue.job.seq IN (SELECT depqueue.job.seq
FROM depqueue.job
WHERE depqueue.job.expires_at <= statement_timestamp() AND depqueue.job.consumer_id IS NULL
LIMIT %(p_limit)s::INTEGER FOR UPDATE SKIP LOCKED) RETURNING depqueue.job.job_id,
     depqueue.job.queue_id, depqueue.job.rank, depqueue.job.attempt, depqueue.job.max_attempts,
     depqueue.job.flags, depqueue.job.created_at, depqueue.job.claimed_at, depqueue.job.expires_at,
     depqueue.job.run_at, depqueue.job.meta, depqueue.job.envelope, depqueue.job.body
