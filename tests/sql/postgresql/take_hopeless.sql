-- Take jobs whose dependency can never be met, unless they asked to be held.
DELETE FROM depqueue.wait WHERE depqueue.wait.job_id = ANY (%(ids)s::UUID[]) AND (flags & 4) = 0
    RETURNING depqueue.wait.job_id, depqueue.wait.queue_id, depqueue.wait.rank,
    depqueue.wait.attempt, depqueue.wait.max_attempts, depqueue.wait.flags,
    depqueue.wait.created_at, depqueue.wait.claimed_at, depqueue.wait.expires_at,
    depqueue.wait.run_at, depqueue.wait.meta, depqueue.wait.envelope, depqueue.wait.body
