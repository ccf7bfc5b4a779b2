-- What the worker of a job says of it, unless another has it meanwhile.
UPDATE depqueue.job SET meta=%(p_meta)s WHERE depqueue.job.job_id = %(p_job_id)s::UUID
    AND (%(p_token)s::BIGINT IS NULL OR depqueue.job.lease_token IS NULL
    OR depqueue.job.lease_token = %(p_token)s::BIGINT)
