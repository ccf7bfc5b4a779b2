-- The same of a job that is to be tried again later.
SELECT depqueue_wait.seq
FROM depqueue_wait
WHERE depqueue_wait.job_id = %(p_job_id)s;
UPDATE depqueue_wait FORCE INDEX (PRIMARY) SET meta=%(p_meta)s WHERE <keys>
    AND depqueue_wait.job_id = %(p_job_id)s
