-- Note that the dependents of an ended job have to be told.
INSERT INTO depqueue_release (dep_id, status, after_id) VALUES (:p_dep_id, :p_status, :p_after_id)
