-- Those that are delayed wait for their time now.
SELECT depqueue_wait.seq
FROM depqueue_wait
WHERE depqueue_wait.job_id IN %(ids)s;
SELECT depqueue_wait.seq AS key_0, depqueue_wait.queue_id
FROM depqueue_wait FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_wait.job_id IN %(ids)s FOR UPDATE;
UPDATE depqueue_wait FORCE INDEX (PRIMARY) SET due_at=depqueue_wait.run_at WHERE <keys>
