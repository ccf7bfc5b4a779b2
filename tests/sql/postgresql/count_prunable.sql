-- How many records of ended jobs are kept no longer.
SELECT count(*) AS count_1
FROM (SELECT depqueue.done.job_id AS job_id
FROM depqueue.done
WHERE depqueue.done.keep_until < statement_timestamp() AND NOT ((flags & 2) != 0
    AND (EXISTS (SELECT *
FROM depqueue.dep
WHERE depqueue.dep.dep_id = depqueue.done.job_id AND ((EXISTS (SELECT *
FROM depqueue.job
WHERE depqueue.job.job_id = depqueue.dep.job_id)) OR (EXISTS (SELECT *
FROM depqueue.wait
WHERE depqueue.wait.job_id = depqueue.dep.job_id))))))
LIMIT 10001) AS anon_1
