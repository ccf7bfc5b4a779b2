-- Lock dependencies that are ready or leased, in key order.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.job_id IN %(ids)s ORDER BY depqueue_job.queue_id, depqueue_job.`rank`,
    depqueue_job.seq;
SELECT depqueue_job.queue_id AS key_0, depqueue_job.`rank` AS key_1, depqueue_job.seq AS key_2,
    depqueue_job.job_id, depqueue_job.flags
FROM depqueue_job FORCE INDEX (PRIMARY)
WHERE <keys> AND depqueue_job.job_id IN %(ids)s ORDER BY depqueue_job.queue_id, depqueue_job.`rank`,
    depqueue_job.seq FOR UPDATE
