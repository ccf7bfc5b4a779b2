-- The one that goes first, whether or not another has locked it.
SELECT depqueue_done.job_id
FROM depqueue_done
WHERE depqueue_done.keep_until < TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))
    AND NOT ((flags & 2) != 0 AND (EXISTS (SELECT *
FROM depqueue_dep
WHERE depqueue_dep.dep_id = depqueue_done.job_id AND ((EXISTS (SELECT *
FROM depqueue_job
WHERE depqueue_job.job_id = depqueue_dep.job_id)) OR (EXISTS (SELECT *
FROM depqueue_wait
WHERE depqueue_wait.job_id = depqueue_dep.job_id)))))) ORDER BY depqueue_done.keep_until,
    depqueue_done.job_id
LIMIT 1
