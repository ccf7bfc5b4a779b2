-- A job waits no more for what it depends on.
SELECT depqueue_dep.dep_id, depqueue_dep.job_id
FROM depqueue_dep
WHERE depqueue_dep.job_id = %(p_job_id)s AND depqueue_dep.met = 0;
UPDATE depqueue_dep FORCE INDEX (PRIMARY) SET met=%(met)s WHERE <keys>
    AND depqueue_dep.job_id = %(p_job_id)s AND depqueue_dep.met = 0
