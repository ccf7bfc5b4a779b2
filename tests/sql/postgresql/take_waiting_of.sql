-- Take some delayed or blocked jobs of a queue.
DELETE FROM depqueue.wait WHERE depqueue.wait.seq IN (SELECT depqueue.wait.seq
FROM depqueue.wait
WHERE depqueue.wait.queue_id = %(p_queue)s::INTEGER
LIMIT %(p_limit)s::INTEGER FOR UPDATE SKIP LOCKED) RETURNING depqueue.wait.job_id,
     depqueue.wait.queue_id, depqueue.wait.rank, depqueue.wait.attempt, depqueue.wait.max_attempts,
     depqueue.wait.flags, depqueue.wait.created_at, depqueue.wait.claimed_at,
     depqueue.wait.expires_at, depqueue.wait.run_at, depqueue.wait.meta, depqueue.wait.envelope,
     depqueue.wait.body
