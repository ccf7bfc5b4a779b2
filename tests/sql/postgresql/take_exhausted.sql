-- Take the jobs of dead consumers whose attempts are used up.
DELETE FROM depqueue.job WHERE depqueue.job.consumer_id = ANY (%(ids)s::BIGINT[])
    AND depqueue.job.max_attempts > 0 AND depqueue.job.attempt >= depqueue.job.max_attempts
    AND (flags & 16) = 0 RETURNING depqueue.job.job_id, depqueue.job.queue_id, depqueue.job.rank,
    depqueue.job.attempt, depqueue.job.max_attempts, depqueue.job.flags, depqueue.job.created_at,
    depqueue.job.claimed_at, depqueue.job.expires_at, depqueue.job.run_at, depqueue.job.meta,
    depqueue.job.envelope, depqueue.job.body
