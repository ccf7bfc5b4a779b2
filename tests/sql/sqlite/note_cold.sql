-- The same of a job that is to be tried again later.
UPDATE depqueue_wait SET meta=:p_meta WHERE depqueue_wait.job_id = :p_job_id
