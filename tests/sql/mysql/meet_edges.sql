-- Edges that an end has fulfilled stay fulfilled when the job is retried.
SELECT depqueue_dep.dep_id, depqueue_dep.job_id
FROM depqueue_dep
WHERE depqueue_dep.dep_id = %(p_dep_id)s AND (depqueue_dep.policy & %(p_mask)s) != 0;
UPDATE depqueue_dep FORCE INDEX (PRIMARY) SET met=%(met)s WHERE <keys>
    AND depqueue_dep.dep_id = %(p_dep_id)s AND (depqueue_dep.policy & %(p_mask)s) != 0
