-- A job waits no more for what it depends on.
UPDATE depqueue_dep SET met=:met WHERE depqueue_dep.job_id = :p_job_id AND depqueue_dep.met = 0
