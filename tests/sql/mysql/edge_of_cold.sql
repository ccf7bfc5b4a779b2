-- Where a look at delayed and blocked jobs ends.
SELECT depqueue_wait.job_id
FROM depqueue_wait
WHERE depqueue_wait.job_id IS NOT NULL AND depqueue_wait.job_id < %(p_before)s
    ORDER BY depqueue_wait.job_id DESC
LIMIT %(p_rows)s, 1
