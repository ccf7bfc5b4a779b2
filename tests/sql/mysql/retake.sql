-- Lease again jobs whose lease expired, but which nobody was given yet.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.lease_token IN %(tokens)s AND depqueue_job.job_id IN %(ids)s
    AND depqueue_job.consumer_id IS NULL;
UPDATE depqueue_job FORCE INDEX (PRIMARY) SET consumer_id=%(p_consumer)s WHERE <keys>
    AND depqueue_job.lease_token IN %(tokens)s AND depqueue_job.job_id IN %(ids)s
    AND depqueue_job.consumer_id IS NULL
