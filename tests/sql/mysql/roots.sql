-- All jobs that nobody depends on.
SELECT depqueue_job.job_id
FROM depqueue_job
WHERE depqueue_job.job_id IS NOT NULL AND NOT (EXISTS (SELECT *
FROM depqueue_dep
WHERE depqueue_dep.dep_id = depqueue_job.job_id)) UNION ALL SELECT depqueue_wait.job_id
FROM depqueue_wait
WHERE depqueue_wait.job_id IS NOT NULL AND NOT (EXISTS (SELECT *
FROM depqueue_dep
WHERE depqueue_dep.dep_id = depqueue_wait.job_id)) UNION ALL SELECT depqueue_done.job_id
FROM depqueue_done
WHERE depqueue_done.job_id IS NOT NULL AND NOT (EXISTS (SELECT *
FROM depqueue_dep
WHERE depqueue_dep.dep_id = depqueue_done.job_id))
