-- The edges of a job to its dependencies, in the order given.
SELECT depqueue_dep.dep_id, depqueue_dep.policy, depqueue_dep.met
FROM depqueue_dep
WHERE depqueue_dep.job_id = %(p_job_id)s ORDER BY depqueue_dep.ordinal
