-- Lock dependencies that are ready or leased, in key order.
SELECT depqueue_job.job_id, depqueue_job.flags
FROM depqueue_job
WHERE depqueue_job.job_id IN (SELECT value FROM json_each(:ids)) ORDER BY depqueue_job.queue_id,
    depqueue_job.rank, depqueue_job.seq
