WITH due AS (
  DELETE FROM depqueue.wait WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM depqueue.wait WHERE due_at <= statement_timestamp() ORDER BY due_at
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) AND due_at <= statement_timestamp() RETURNING *)
INSERT INTO depqueue.job (job_id, queue_id, rank, attempt, max_attempts, flags, created_at,
    claimed_at, expires_at, run_at, meta, envelope, body) SELECT job_id, queue_id, rank, attempt,
    max_attempts, flags, created_at, claimed_at, expires_at, run_at, meta, envelope, body FROM due
    ORDER BY due.due_at, due.seq
ON CONFLICT DO NOTHING RETURNING queue_id
