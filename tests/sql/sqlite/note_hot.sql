-- What the worker of a job says of it, unless another has it meanwhile.
UPDATE depqueue_job SET meta=:p_meta WHERE depqueue_job.job_id = :p_job_id AND (:p_token IS NULL
    OR depqueue_job.lease_token IS NULL OR depqueue_job.lease_token = :p_token)
