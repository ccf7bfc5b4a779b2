-- The same for those that wait.
SELECT depqueue_wait.seq
FROM depqueue_wait
WHERE depqueue_wait.job_id IN %(ids)s AND (flags & 32) = 0;
UPDATE depqueue_wait FORCE INDEX (PRIMARY) SET flags=(depqueue_wait.flags | 32) WHERE <keys>
    AND depqueue_wait.job_id IN %(ids)s AND (flags & 32) = 0
