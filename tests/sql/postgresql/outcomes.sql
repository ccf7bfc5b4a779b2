-- How some jobs stand, and what was said of them: ended, hot and cold ones in one look.
SELECT depqueue.done.job_id, depqueue.done.status, depqueue.done.flags, depqueue.done.meta,
    depqueue.done.result, depqueue.done.reason, depqueue.done.finished_at
FROM depqueue.done
WHERE depqueue.done.job_id = ANY (%(ids)s::UUID[]) UNION ALL SELECT depqueue.job.job_id, 0,
    depqueue.job.flags, depqueue.job.meta, NULL, NULL, NULL
FROM depqueue.job
WHERE depqueue.job.job_id = ANY (%(ids)s::UUID[]) UNION ALL SELECT depqueue.wait.job_id, 0,
    depqueue.wait.flags, depqueue.wait.meta, NULL, NULL, NULL
FROM depqueue.wait
WHERE depqueue.wait.job_id = ANY (%(ids)s::UUID[])
