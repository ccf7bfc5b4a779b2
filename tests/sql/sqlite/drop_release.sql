-- All dependents were told.
DELETE FROM depqueue_release WHERE depqueue_release.dep_id = :p_dep_id
