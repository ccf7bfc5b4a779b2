-- Add an edge.
INSERT INTO depqueue_dep (dep_id, job_id, ordinal, policy, met) VALUES (:p_dep_id, :p_job_id,
    :p_ordinal, :p_policy, :p_met)
