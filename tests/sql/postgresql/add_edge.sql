-- Add an edge.
INSERT INTO depqueue.dep (dep_id, job_id, ordinal, policy, met) VALUES (%(p_dep_id)s::UUID,
    %(p_job_id)s::UUID, %(p_ordinal)s::INTEGER, %(p_policy)s::SMALLINT, %(p_met)s)
