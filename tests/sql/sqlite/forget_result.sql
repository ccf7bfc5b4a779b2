-- Forget what a job gave; how it ended is kept for those that depend on it.
UPDATE depqueue_done SET result=:result, meta=:meta WHERE depqueue_done.job_id = :p_job_id
