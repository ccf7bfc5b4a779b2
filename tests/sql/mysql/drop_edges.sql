-- Forget the edges to their dependencies.
SELECT depqueue_dep.dep_id, depqueue_dep.job_id
FROM depqueue_dep
WHERE depqueue_dep.job_id IN %(ids)s;
SELECT depqueue_dep.dep_id AS key_0, depqueue_dep.job_id AS key_1
FROM depqueue_dep FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_dep.job_id IN %(ids)s FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_dep it FORCE INDEX (PRIMARY) ON it.dep_id = chosen.dep_id
    AND it.job_id = chosen.job_id
