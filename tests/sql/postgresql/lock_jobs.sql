-- Lock dependencies that are ready or leased, in key order.
SELECT depqueue.job.job_id, depqueue.job.flags
FROM depqueue.job
WHERE depqueue.job.job_id = ANY (%(ids)s::UUID[]) ORDER BY depqueue.job.queue_id, depqueue.job.rank,
    depqueue.job.seq FOR NO KEY UPDATE
