-- Make the jobs of dead consumers ready again; their tokens stay good until they are handed out again.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.consumer_id IN %(ids)s AND (flags & 16) = 0;
SELECT depqueue_job.queue_id AS key_0, depqueue_job.`rank` AS key_1, depqueue_job.seq AS key_2,
    depqueue_job.queue_id
FROM depqueue_job FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_job.consumer_id IN %(ids)s AND (flags & 16) = 0 FOR UPDATE;
UPDATE depqueue_job FORCE INDEX (PRIMARY) SET consumer_id=%(consumer_id)s,
    flags=(depqueue_job.flags | 8) WHERE <keys>
