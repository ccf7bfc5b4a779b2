-- Take a job that is ready and held by nobody.
DELETE FROM depqueue.job WHERE depqueue.job.job_id = %(p_job_id)s::UUID
    AND depqueue.job.consumer_id IS NULL RETURNING depqueue.job.job_id, depqueue.job.queue_id,
    depqueue.job.rank, depqueue.job.attempt, depqueue.job.max_attempts, depqueue.job.flags,
    depqueue.job.created_at, depqueue.job.claimed_at, depqueue.job.expires_at, depqueue.job.run_at,
    depqueue.job.meta, depqueue.job.envelope, depqueue.job.body
