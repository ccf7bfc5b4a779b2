-- The next edges to the dependents of an ended job.
SELECT depqueue.dep.job_id, depqueue.dep.policy
FROM depqueue.dep
WHERE depqueue.dep.dep_id = %(p_dep_id)s::UUID AND depqueue.dep.job_id > %(p_after)s::UUID
    AND NOT depqueue.dep.met ORDER BY depqueue.dep.job_id
LIMIT %(p_limit)s::INTEGER
