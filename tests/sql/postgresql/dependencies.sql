-- The edges of a job to its dependencies, in the order given.
SELECT depqueue.dep.dep_id, depqueue.dep.policy, depqueue.dep.met
FROM depqueue.dep
WHERE depqueue.dep.job_id = %(p_job_id)s::UUID ORDER BY depqueue.dep.ordinal
