UPDATE depqueue.job SET consumer_id = %(consumer)s, lease_token = %(token)s, attempt = attempt + 1,
  claimed_at = statement_timestamp() WHERE ctid = ANY (ARRAY(
  SELECT j.ctid FROM unnest(%(queues)s::int[], %(ranks)s::int[], %(afters)s::bigint[],
      %(untils)s::int[])
    AS c(q, r, s, u)
  JOIN depqueue.queue q ON q.id = c.q AND NOT q.paused CROSS JOIN LATERAL (
    SELECT ctid, rank, seq FROM depqueue.job
    WHERE queue_id = c.q AND (rank, seq) > (c.r, c.s) AND rank < c.u AND consumer_id IS NULL
    ORDER BY rank, seq LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED) j
  ORDER BY j.rank, j.seq LIMIT %(limit)s)) AND consumer_id IS NULL
RETURNING queue_id, rank, seq, lease_token, attempt, max_attempts, flags, job_id, run_at,
    coalesce(expires_at <= statement_timestamp(), false),
    CASE WHEN octet_length(envelope) <= 16842752 THEN envelope END AS envelope,
    CASE WHEN octet_length(body) <= 16777216 AND coalesce(octet_length(envelope) <= 16842752,
    true) THEN body END AS body
