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
    statement_timestamp() + make_interval(secs => (%(keeps)s::float8[])[array_position(%(held_seqs)s::bigint[],
        seq)]), NULL,
    (%(results)s::bytea[])[array_position(%(held_seqs)s::bigint[], seq)],
        (%(metas)s::bytea[])[array_position(%(held_seqs)s::bigint[], seq)]
  FROM gone
      WHERE job_id IS NOT NULL ON CONFLICT (job_id) DO UPDATE SET queue_id = excluded.queue_id,
      status = excluded.status, flags = excluded.flags, attempt = excluded.attempt,
      created_at = excluded.created_at, started_at = excluded.started_at,
      finished_at = excluded.finished_at, keep_until = excluded.keep_until,
      reason = excluded.reason, result = excluded.result, meta = excluded.meta),
told AS (SELECT pg_notify('depqueue_depqueue__0', '') FROM gone WHERE flags & 32 <> 0 LIMIT 1),
taken AS (
UPDATE depqueue.job SET consumer_id = %(consumer)s, lease_token = %(token)s, attempt = attempt + 1,
  claimed_at = statement_timestamp() WHERE ctid = ANY (ARRAY(
  SELECT j.ctid FROM unnest(%(queues)s::int[], %(ranks)s::int[], %(afters)s::bigint[],
      %(untils)s::int[])
    AS c(q, r, s, u)
  JOIN depqueue.queue q ON q.id = c.q AND NOT q.paused CROSS JOIN LATERAL (
    SELECT ctid, rank, seq FROM depqueue.job
    WHERE queue_id = c.q AND (rank, seq) > (c.r, c.s) AND rank < c.u AND consumer_id IS NULL
      AND (lease_token IS NULL OR lease_token <> ALL (%(held_tokens)s::bigint[]))
    ORDER BY rank, seq LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED) j
  ORDER BY j.rank, j.seq LIMIT %(limit)s)) AND consumer_id IS NULL
      AND (lease_token IS NULL OR lease_token <> ALL (%(held_tokens)s::bigint[]))
RETURNING queue_id, rank, seq, lease_token, attempt, max_attempts, flags, job_id, run_at,
    coalesce(expires_at <= statement_timestamp(), false),
    CASE WHEN octet_length(envelope) <= 16842752 THEN envelope END AS envelope,
    CASE WHEN octet_length(body) <= 16777216 AND coalesce(octet_length(envelope) <= 16842752,
    true) THEN body END AS body)
SELECT * FROM taken UNION ALL SELECT NULL, NULL, seq, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL FROM gone WHERE (SELECT count(*) FROM told) >= 0
