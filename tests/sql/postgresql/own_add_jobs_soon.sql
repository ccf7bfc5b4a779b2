INSERT INTO depqueue.job (created_at, job_id, queue_id, rank, attempt, max_attempts, flags, run_at,
    envelope, body, expires_at)
SELECT statement_timestamp(), u.id, u.queue_id, u.rank, %(attempt)s::int4, %(max_attempts)s::int4,
  %(flags)s::int2, %(run_at)s::timestamptz, u.envelope, u.body,
  statement_timestamp() + make_interval(secs => %(expires_in)s::float8)
FROM unnest(%(queues)s::int4[], %(ranks)s::int2[], %(ids)s::uuid[], %(envelope)s::bytea[],
    %(body)s::bytea[])
  AS u(queue_id, rank, id, envelope, body)
WHERE (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
