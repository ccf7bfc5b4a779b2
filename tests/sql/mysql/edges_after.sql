-- The next edges to the dependents of an ended job.
SELECT depqueue_dep.job_id, depqueue_dep.policy
FROM depqueue_dep
WHERE depqueue_dep.dep_id = %(p_dep_id)s AND depqueue_dep.job_id > %(p_after)s
    AND depqueue_dep.met = 0 ORDER BY depqueue_dep.job_id
LIMIT %(p_limit)s
