-- Note that the dependents of an ended job have to be told.
INSERT INTO depqueue.release (dep_id, status, after_id) VALUES (%(p_dep_id)s::UUID,
    %(p_status)s::SMALLINT, %(p_after_id)s::UUID)
