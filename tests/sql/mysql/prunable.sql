-- Records of ended jobs that are kept no longer: out of time, and no live job depends on them.
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
LIMIT %(p_limit)s;
SELECT depqueue_done.job_id AS key_0, depqueue_done.job_id
FROM depqueue_done FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_done.keep_until < TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) AND NOT ((flags & 2) != 0 AND (EXISTS (SELECT *
FROM depqueue_dep
WHERE depqueue_dep.dep_id = depqueue_done.job_id AND ((EXISTS (SELECT *
FROM depqueue_job
WHERE depqueue_job.job_id = depqueue_dep.job_id)) OR (EXISTS (SELECT *
FROM depqueue_wait
WHERE depqueue_wait.job_id = depqueue_dep.job_id)))))) ORDER BY depqueue_done.keep_until,
    depqueue_done.job_id FOR UPDATE SKIP LOCKED
