-- What a job was enqueued with, wherever it is.
SELECT depqueue_wait.envelope, depqueue_wait.body
FROM depqueue_wait
WHERE depqueue_wait.job_id = %(p_job_id)s UNION ALL SELECT depqueue_job.envelope, depqueue_job.body
FROM depqueue_job
WHERE depqueue_job.job_id = %(p_job_id)s UNION ALL SELECT depqueue_ended_body.envelope,
    depqueue_ended_body.body
FROM depqueue_ended_body
WHERE depqueue_ended_body.job_id = %(p_job_id)s
