-- Take a job out of the cold table by its id.
DELETE FROM depqueue.wait WHERE depqueue.wait.job_id = %(p_job_id)s::UUID
    RETURNING depqueue.wait.job_id, depqueue.wait.queue_id, depqueue.wait.rank,
    depqueue.wait.attempt, depqueue.wait.max_attempts, depqueue.wait.flags,
    depqueue.wait.created_at, depqueue.wait.claimed_at, depqueue.wait.expires_at,
    depqueue.wait.run_at, depqueue.wait.meta, depqueue.wait.envelope, depqueue.wait.body
