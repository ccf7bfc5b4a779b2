-- Headers and payloads of jobs, as far as they are kept.
SELECT depqueue.job.job_id, depqueue.job.envelope, depqueue.job.body
FROM depqueue.job
WHERE depqueue.job.job_id = ANY (%(ids)s::UUID[]) UNION ALL SELECT depqueue.wait.job_id,
    depqueue.wait.envelope, depqueue.wait.body
FROM depqueue.wait
WHERE depqueue.wait.job_id = ANY (%(ids)s::UUID[]) UNION ALL SELECT depqueue.ended_body.job_id,
    depqueue.ended_body.envelope, depqueue.ended_body.body
FROM depqueue.ended_body
WHERE depqueue.ended_body.job_id = ANY (%(ids)s::UUID[])
