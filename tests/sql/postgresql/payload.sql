-- What a job was enqueued with, wherever it is.
SELECT depqueue.wait.envelope, depqueue.wait.body
FROM depqueue.wait
WHERE depqueue.wait.job_id = %(p_job_id)s::UUID UNION ALL SELECT depqueue.job.envelope,
    depqueue.job.body
FROM depqueue.job
WHERE depqueue.job.job_id = %(p_job_id)s::UUID UNION ALL SELECT depqueue.ended_body.envelope,
    depqueue.ended_body.body
FROM depqueue.ended_body
WHERE depqueue.ended_body.job_id = %(p_job_id)s::UUID
