-- All dependents up to p_after were told.
UPDATE depqueue_release FORCE INDEX (PRIMARY) SET after_id=%(p_after)s
    WHERE depqueue_release.dep_id = %(p_dep_id)s
