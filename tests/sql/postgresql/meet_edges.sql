-- Edges that an end has fulfilled stay fulfilled when the job is retried.
UPDATE depqueue.dep SET met=%(met)s WHERE depqueue.dep.dep_id = %(p_dep_id)s::UUID
    AND (depqueue.dep.policy & %(p_mask)s::INTEGER) != 0
