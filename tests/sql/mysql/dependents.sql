-- The jobs that depend on a job.
SELECT depqueue_dep.job_id, depqueue_dep.policy, depqueue_dep.met
FROM depqueue_dep
WHERE depqueue_dep.dep_id = %(p_dep_id)s ORDER BY depqueue_dep.job_id
