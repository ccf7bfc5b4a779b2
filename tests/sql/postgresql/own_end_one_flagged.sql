WITH gone AS (DELETE FROM depqueue.job WHERE queue_id = %(queue)s AND rank = %(rank)s
    AND seq = %(seq)s AND lease_token = %(token)s
    RETURNING seq, job_id, queue_id, flags, attempt, created_at, claimed_at),
kept AS (
  INSERT INTO depqueue.done (job_id, queue_id, status, flags, attempt, created_at, started_at,
      finished_at, keep_until, reason, result, meta)
  SELECT job_id, queue_id, 1, flags, attempt, created_at, claimed_at, statement_timestamp(),
      statement_timestamp() + make_interval(secs => %(keep)s), NULL, %(result)s::bytea,
    %(meta)s::bytea
  FROM gone
      WHERE job_id IS NOT NULL ON CONFLICT (job_id) DO UPDATE SET queue_id = excluded.queue_id,
      status = excluded.status, flags = excluded.flags, attempt = excluded.attempt,
      created_at = excluded.created_at, started_at = excluded.started_at,
      finished_at = excluded.finished_at, keep_until = excluded.keep_until,
      reason = excluded.reason, result = excluded.result, meta = excluded.meta),
told AS (SELECT pg_notify('depqueue_depqueue__0', '') FROM gone WHERE flags & 32 <> 0 LIMIT 1),
note AS (
  INSERT INTO depqueue.release (dep_id, status, after_id)
  SELECT job_id, 1, '00000000-0000-0000-0000-000000000000'::uuid FROM gone
      WHERE flags & 2 <> 0 ON CONFLICT (dep_id) DO UPDATE SET status = excluded.status,
      after_id = excluded.after_id)
SELECT seq FROM gone WHERE (SELECT count(*) FROM told) >= 0
