INSERT INTO depqueue.job (
  created_at, job_id, queue_id, rank, attempt, max_attempts, flags, run_at, envelope, body,
      expires_at)
SELECT statement_timestamp(), %(p_job_id)s::uuid, %(p_queue_id)s::int4, %(p_rank)s::int2,
    %(p_attempt)s::int4,
  %(p_max_attempts)s::int4, %(p_flags)s::int2, %(p_run_at)s::timestamptz, %(p_envelope)s::bytea,
      %(p_body)s::bytea,
  statement_timestamp() + make_interval(secs => %(p_expires_in)s::float8)
WHERE NOT EXISTS (SELECT FROM depqueue.wait WHERE job_id = %(p_job_id)s::uuid)
  AND NOT EXISTS (SELECT FROM depqueue.done WHERE job_id = %(p_job_id)s::uuid)
