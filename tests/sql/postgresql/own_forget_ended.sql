WITH gone AS (DELETE FROM depqueue.done WHERE job_id = ANY (%(ids)s::uuid[]) RETURNING job_id)
DELETE FROM depqueue.ended_body WHERE job_id IN (SELECT job_id FROM gone)
