WITH gone AS (DELETE FROM depqueue.done WHERE job_id = ANY (%(ids)s::uuid[]) RETURNING job_id,
    status),
met AS (
  UPDATE depqueue.dep d SET met = true FROM gone WHERE d.dep_id = gone.job_id
      AND (d.policy >> gone.status) & 1 = 1)
DELETE FROM depqueue.ended_body WHERE job_id IN (SELECT job_id FROM gone)
