-- What the worker of a job says of it, unless another has it meanwhile.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.job_id = %(p_job_id)s AND (%(p_token)s IS NULL
    OR depqueue_job.lease_token IS NULL OR depqueue_job.lease_token = %(p_token)s);
UPDATE depqueue_job FORCE INDEX (PRIMARY) SET meta=%(p_meta)s WHERE <keys>
    AND depqueue_job.job_id = %(p_job_id)s AND (%(p_token)s IS NULL
    OR depqueue_job.lease_token IS NULL OR depqueue_job.lease_token = %(p_token)s)
