-- Records of ended jobs that are kept no longer: out of time, and no live job depends on them.
SELECT depqueue_done.job_id
FROM depqueue_done
WHERE depqueue_done.keep_until < CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)
    AND NOT ((flags & 2) != 0 AND (EXISTS (SELECT *
FROM depqueue_dep
WHERE depqueue_dep.dep_id = depqueue_done.job_id AND ((EXISTS (SELECT *
FROM depqueue_job
WHERE depqueue_job.job_id = depqueue_dep.job_id)) OR (EXISTS (SELECT *
FROM depqueue_wait
WHERE depqueue_wait.job_id = depqueue_dep.job_id)))))) ORDER BY depqueue_done.keep_until,
    depqueue_done.job_id
LIMIT :p_limit OFFSET :param_1
