-- Note that jobs in the hot table have dependents.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.job_id IN %(ids)s;
UPDATE depqueue_job FORCE INDEX (PRIMARY) SET flags=(depqueue_job.flags | 2) WHERE <keys>
    AND depqueue_job.job_id IN %(ids)s
