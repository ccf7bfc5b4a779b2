WITH gone AS (DELETE FROM depqueue.job WHERE ctid = ANY (ARRAY(
    SELECT j.ctid FROM unnest(
        %(held_queues)s::int[], %(held_ranks)s::int[], %(held_seqs)s::bigint[],
            %(held_tokens)s::bigint[])
      AS k(q, r, s, t) CROSS JOIN LATERAL (
        SELECT ctid FROM depqueue.job WHERE queue_id = k.q AND rank = k.r AND seq = k.s
            AND lease_token = k.t LIMIT 1) j))
    AND lease_token = ANY (%(held_tokens)s::bigint[]) AND flags & 2 = 0
    RETURNING seq, job_id, queue_id, flags, attempt, created_at, claimed_at),
kept AS (
  INSERT INTO depqueue.done (job_id, queue_id, status, flags, attempt, created_at, started_at,
      finished_at, keep_until, reason, result, meta)
  SELECT job_id, queue_id, 1, flags, attempt, created_at, claimed_at, statement_timestamp(),
      statement_timestamp() + make_interval(secs => %(keep)s), NULL, NULL, NULL
  FROM gone WHERE job_id IS NOT NULL ),
told AS (SELECT pg_notify('depqueue_depqueue__0', '') FROM gone WHERE flags & 32 <> 0 LIMIT 1)
SELECT seq FROM gone WHERE (SELECT count(*) FROM told) >= 0
