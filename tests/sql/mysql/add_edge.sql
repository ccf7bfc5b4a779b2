-- Add an edge.
INSERT INTO depqueue_dep (dep_id, job_id, ordinal, policy, met) VALUES (%(p_dep_id)s, %(p_job_id)s,
    %(p_ordinal)s, %(p_policy)s, %(p_met)s)
