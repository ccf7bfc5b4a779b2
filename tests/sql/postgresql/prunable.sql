-- Records of ended jobs that are kept no longer: out of time, and no live job depends on them.
SELECT depqueue.done.job_id
FROM depqueue.done
WHERE depqueue.done.keep_until < statement_timestamp() AND NOT ((flags & 2) != 0
    AND (EXISTS (SELECT *
FROM depqueue.dep
WHERE depqueue.dep.dep_id = depqueue.done.job_id AND ((EXISTS (SELECT *
FROM depqueue.job
WHERE depqueue.job.job_id = depqueue.dep.job_id)) OR (EXISTS (SELECT *
FROM depqueue.wait
WHERE depqueue.wait.job_id = depqueue.dep.job_id)))))) ORDER BY depqueue.done.keep_until,
    depqueue.done.job_id
LIMIT %(p_limit)s::INTEGER FOR UPDATE OF done SKIP LOCKED
