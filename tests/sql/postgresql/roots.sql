-- All jobs that nobody depends on.
SELECT depqueue.job.job_id
FROM depqueue.job
WHERE depqueue.job.job_id IS NOT NULL AND NOT (EXISTS (SELECT *
FROM depqueue.dep
WHERE depqueue.dep.dep_id = depqueue.job.job_id)) UNION ALL SELECT depqueue.wait.job_id
FROM depqueue.wait
WHERE depqueue.wait.job_id IS NOT NULL AND NOT (EXISTS (SELECT *
FROM depqueue.dep
WHERE depqueue.dep.dep_id = depqueue.wait.job_id)) UNION ALL SELECT depqueue.done.job_id
FROM depqueue.done
WHERE depqueue.done.job_id IS NOT NULL AND NOT (EXISTS (SELECT *
FROM depqueue.dep
WHERE depqueue.dep.dep_id = depqueue.done.job_id))
