-- Note that the dependents of an ended job have to be told.
INSERT INTO depqueue_release (dep_id, status, after_id) VALUES (%(p_dep_id)s, %(p_status)s,
    %(p_after_id)s)
