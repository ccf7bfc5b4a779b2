-- Edges that an end has fulfilled stay fulfilled when the job is retried.
UPDATE depqueue_dep SET met=:met WHERE depqueue_dep.dep_id = :p_dep_id
    AND (depqueue_dep.policy & :p_mask) != 0
