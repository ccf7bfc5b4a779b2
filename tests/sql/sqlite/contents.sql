-- Headers and payloads of jobs, as far as they are kept.
SELECT depqueue_job.job_id, depqueue_job.envelope, depqueue_job.body
FROM depqueue_job
WHERE depqueue_job.job_id IN (SELECT value FROM json_each(:ids))
    UNION ALL SELECT depqueue_wait.job_id, depqueue_wait.envelope, depqueue_wait.body
FROM depqueue_wait
WHERE depqueue_wait.job_id IN (SELECT value FROM json_each(:ids))
    UNION ALL SELECT depqueue_ended_body.job_id, depqueue_ended_body.envelope,
    depqueue_ended_body.body
FROM depqueue_ended_body
WHERE depqueue_ended_body.job_id IN (SELECT value FROM json_each(:ids))
