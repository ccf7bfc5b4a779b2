-- Where a look at ended jobs ends.
SELECT depqueue.done.job_id
FROM depqueue.done
WHERE depqueue.done.job_id IS NOT NULL AND depqueue.done.job_id < %(p_before)s::UUID
    ORDER BY depqueue.done.job_id DESC
LIMIT 1 OFFSET %(p_rows)s::INTEGER
