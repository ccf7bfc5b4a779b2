-- Who holds a job: key and token.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq, depqueue_job.lease_token,
    depqueue_job.attempt
FROM depqueue_job
WHERE depqueue_job.job_id = %(p_job_id)s AND depqueue_job.consumer_id IS NOT NULL
