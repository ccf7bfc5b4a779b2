-- Who holds a job: key and token.
SELECT depqueue.job.queue_id, depqueue.job.rank, depqueue.job.seq, depqueue.job.lease_token,
    depqueue.job.attempt
FROM depqueue.job
WHERE depqueue.job.job_id = %(p_job_id)s::UUID AND depqueue.job.consumer_id IS NOT NULL
