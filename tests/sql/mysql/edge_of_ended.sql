-- Where a look at ended jobs ends.
SELECT depqueue_done.job_id
FROM depqueue_done
WHERE depqueue_done.job_id IS NOT NULL AND depqueue_done.job_id < %(p_before)s
    ORDER BY depqueue_done.job_id DESC
LIMIT %(p_rows)s, 1
