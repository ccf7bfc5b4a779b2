-- All dependents up to p_after were told.
UPDATE depqueue_release SET after_id=:p_after WHERE depqueue_release.dep_id = :p_dep_id
