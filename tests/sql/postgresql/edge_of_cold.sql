-- Where a look at delayed and blocked jobs ends.
SELECT depqueue.wait.job_id
FROM depqueue.wait
WHERE depqueue.wait.job_id IS NOT NULL AND depqueue.wait.job_id < %(p_before)s::UUID
    ORDER BY depqueue.wait.job_id DESC
LIMIT 1 OFFSET %(p_rows)s::INTEGER
