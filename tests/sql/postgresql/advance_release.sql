-- All dependents up to p_after were told.
UPDATE depqueue.release SET after_id=%(p_after)s::UUID
    WHERE depqueue.release.dep_id = %(p_dep_id)s::UUID
