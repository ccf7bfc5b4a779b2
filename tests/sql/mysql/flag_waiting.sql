-- The same in the cold table.
SELECT depqueue_wait.seq
FROM depqueue_wait
WHERE depqueue_wait.job_id IN %(ids)s;
UPDATE depqueue_wait FORCE INDEX (PRIMARY) SET flags=(depqueue_wait.flags | 2) WHERE <keys>
    AND depqueue_wait.job_id IN %(ids)s
