-- Somebody waits for the ends of these jobs.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.job_id IN %(ids)s AND (flags & 32) = 0;
UPDATE depqueue_job FORCE INDEX (PRIMARY) SET flags=(depqueue_job.flags | 32) WHERE <keys>
    AND depqueue_job.job_id IN %(ids)s AND (flags & 32) = 0
