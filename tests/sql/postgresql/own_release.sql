WITH note AS MATERIALIZED (
  SELECT dep_id, status, after_id FROM depqueue.release
      WHERE dep_id = ANY (%(notes)s::uuid[]) FOR UPDATE SKIP LOCKED),
edge AS MATERIALIZED (
  SELECT d.dep_id, d.job_id, note.status, (d.policy >> note.status) & 1 = 1 AS met
  FROM note CROSS JOIN LATERAL (
    SELECT dep_id, job_id, policy FROM depqueue.dep WHERE dep_id = note.dep_id
        AND job_id > note.after_id AND NOT met
    ORDER BY job_id LIMIT %(limit)s) d
  ORDER BY d.dep_id, d.job_id LIMIT %(limit)s),
seen AS (SELECT count(*) >= %(limit)s AS cut FROM edge),
last AS (SELECT dep_id, job_id FROM edge ORDER BY dep_id DESC, job_id DESC LIMIT 1),
hopeless AS MATERIALIZED (
  SELECT DISTINCT ON (job_id) job_id, dep_id, status FROM edge WHERE NOT met ORDER BY job_id,
      dep_id),
dropped AS MATERIALIZED (
  SELECT b.job_id FROM depqueue.blocked b JOIN hopeless USING (job_id)
      ORDER BY b.job_id FOR UPDATE OF b),
canceled AS (
  DELETE FROM depqueue.wait w USING hopeless h WHERE w.job_id = h.job_id AND w.flags & 4 = 0
    AND w.job_id = ANY (ARRAY(SELECT job_id FROM dropped)) RETURNING w.*, h.dep_id, h.status),
counter AS MATERIALIZED (
  SELECT b.job_id, b.pending, c.n FROM depqueue.blocked b
  JOIN (SELECT job_id, count(*)::int AS n FROM edge WHERE met GROUP BY job_id) c USING (job_id)
  WHERE b.job_id NOT IN (SELECT job_id FROM canceled) ORDER BY b.job_id FOR UPDATE OF b),
counted AS (
  UPDATE depqueue.blocked b SET pending = b.pending - c.n FROM counter c WHERE b.job_id = c.job_id
      AND c.pending > c.n),
free AS (
  DELETE FROM depqueue.blocked b USING counter c WHERE b.job_id = c.job_id AND c.pending <= c.n
      RETURNING b.job_id),
forgot AS (DELETE FROM depqueue.blocked b USING canceled c WHERE b.job_id = c.job_id),
moved AS (
  DELETE FROM depqueue.wait w USING free WHERE w.job_id = free.job_id
    AND (w.run_at IS NULL OR w.run_at <= statement_timestamp()) RETURNING w.*),
delayed AS (
  UPDATE depqueue.wait w SET due_at = w.run_at FROM free WHERE w.job_id = free.job_id
      AND w.run_at > statement_timestamp()
  RETURNING w.queue_id),
ready AS (
  INSERT INTO depqueue.job (job_id, queue_id, rank, attempt, max_attempts, flags, created_at,
      claimed_at, expires_at, run_at, meta, envelope, body) SELECT job_id, queue_id, rank, attempt,
      max_attempts, flags, created_at, claimed_at, expires_at, run_at, meta, envelope, body
      FROM moved ORDER BY moved.seq
  ON CONFLICT DO NOTHING RETURNING queue_id),
ended AS (
  INSERT INTO depqueue.done (job_id, queue_id, status, flags, attempt, created_at, started_at,
      finished_at, keep_until, reason, result, meta)
  SELECT job_id, queue_id, 3, flags, attempt, created_at, claimed_at, statement_timestamp(),
      statement_timestamp() + make_interval(secs => %(keep)s),
    'dependency ' || dep_id || (ARRAY[' succeeded', ' failed', ' canceled', ' expired'])[status],
        NULL, NULL
  FROM canceled ON CONFLICT (job_id) DO UPDATE SET queue_id = excluded.queue_id,
      status = excluded.status, flags = excluded.flags, attempt = excluded.attempt,
      created_at = excluded.created_at, started_at = excluded.started_at,
      finished_at = excluded.finished_at, keep_until = excluded.keep_until,
      reason = excluded.reason, result = excluded.result, meta = excluded.meta),
body AS (
  INSERT INTO depqueue.ended_body (job_id, rank, max_attempts, envelope, body)
  SELECT job_id, rank, max_attempts, envelope, body FROM canceled
  ON CONFLICT DO NOTHING),
further AS (
  INSERT INTO depqueue.release (dep_id, status, after_id)
  SELECT job_id, 3, '00000000-0000-0000-0000-000000000000'::uuid FROM canceled
      WHERE flags & 2 <> 0 ON CONFLICT (dep_id) DO UPDATE SET status = excluded.status,
      after_id = excluded.after_id RETURNING dep_id),
heard AS (SELECT pg_notify('depqueue_depqueue__0', '') FROM canceled WHERE flags & 32 <> 0 LIMIT 1),
told AS (
  DELETE FROM depqueue.release r USING note, seen WHERE r.dep_id = note.dep_id
    AND (NOT seen.cut OR r.dep_id < (SELECT dep_id FROM last)) RETURNING r.dep_id),
advanced AS (
  UPDATE depqueue.release r SET after_id = last.job_id FROM last, seen WHERE seen.cut
      AND r.dep_id = last.dep_id)
SELECT ARRAY(SELECT queue_id FROM ready UNION SELECT queue_id FROM delayed),
  ARRAY(SELECT dep_id FROM further UNION ALL SELECT dep_id FROM note
      WHERE dep_id NOT IN (SELECT dep_id FROM told))
WHERE (SELECT count(*) FROM heard) >= 0
