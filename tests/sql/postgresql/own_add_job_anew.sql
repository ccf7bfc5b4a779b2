WITH gone AS (
  DELETE FROM depqueue.done d WHERE job_id = %(p_job_id)s::uuid
    AND NOT EXISTS (SELECT FROM depqueue.release r WHERE r.dep_id = d.job_id) RETURNING job_id,
        status),
body AS (DELETE FROM depqueue.ended_body WHERE job_id IN (SELECT job_id FROM gone)),
met AS (
  UPDATE depqueue.dep d SET met = true FROM gone WHERE d.dep_id = gone.job_id
      AND (d.policy >> gone.status) & 1 = 1)
INSERT INTO depqueue.job (
  created_at, job_id, queue_id, rank, attempt, max_attempts, flags, run_at, envelope, body,
      expires_at)
SELECT statement_timestamp(), %(p_job_id)s::uuid, %(p_queue_id)s::int4, %(p_rank)s::int2,
    %(p_attempt)s::int4,
  %(p_max_attempts)s::int4, %(p_flags)s::int2, %(p_run_at)s::timestamptz, %(p_envelope)s::bytea,
      %(p_body)s::bytea,
  statement_timestamp() + make_interval(secs => %(p_expires_in)s::float8)
WHERE NOT EXISTS (SELECT FROM depqueue.wait WHERE job_id = %(p_job_id)s::uuid)
  AND NOT EXISTS (SELECT FROM depqueue.release WHERE dep_id = %(p_job_id)s::uuid)
