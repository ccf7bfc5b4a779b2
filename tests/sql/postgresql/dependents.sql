-- The jobs that depend on a job.
SELECT depqueue.dep.job_id, depqueue.dep.policy, depqueue.dep.met
FROM depqueue.dep
WHERE depqueue.dep.dep_id = %(p_dep_id)s::UUID ORDER BY depqueue.dep.job_id
