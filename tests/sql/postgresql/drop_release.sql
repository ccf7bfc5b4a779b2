-- All dependents were told.
DELETE FROM depqueue.release WHERE depqueue.release.dep_id = %(p_dep_id)s::UUID
