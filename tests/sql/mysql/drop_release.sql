-- All dependents were told.
SELECT depqueue_release.dep_id AS key_0
FROM depqueue_release FORCE INDEX (PRIMARY)
WHERE depqueue_release.dep_id = %(p_dep_id)s FOR UPDATE;
DELETE it
    FROM (<keys>) chosen STRAIGHT_JOIN depqueue_release it FORCE INDEX (PRIMARY) ON it.dep_id = chosen.dep_id
