-- Take unblocked jobs that are not delayed as well.
DELETE FROM depqueue.wait WHERE depqueue.wait.job_id = ANY (%(ids)s::UUID[])
    AND (depqueue.wait.run_at IS NULL OR depqueue.wait.run_at <= statement_timestamp())
    RETURNING depqueue.wait.job_id, depqueue.wait.queue_id, depqueue.wait.rank,
    depqueue.wait.attempt, depqueue.wait.max_attempts, depqueue.wait.flags,
    depqueue.wait.created_at, depqueue.wait.claimed_at, depqueue.wait.expires_at,
    depqueue.wait.run_at, depqueue.wait.meta, depqueue.wait.envelope, depqueue.wait.body,
    depqueue.wait.seq
