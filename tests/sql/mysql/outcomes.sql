-- How some jobs stand, and what was said of them: ended, hot and cold ones in one look.
SELECT depqueue_done.job_id, depqueue_done.status, depqueue_done.flags, depqueue_done.meta,
    depqueue_done.result, depqueue_done.reason, depqueue_done.finished_at
FROM depqueue_done
WHERE depqueue_done.job_id IN %(ids)s UNION ALL SELECT depqueue_job.job_id, 0, depqueue_job.flags,
    depqueue_job.meta, NULL, NULL, NULL
FROM depqueue_job
WHERE depqueue_job.job_id IN %(ids)s UNION ALL SELECT depqueue_wait.job_id, 0, depqueue_wait.flags,
    depqueue_wait.meta, NULL, NULL, NULL
FROM depqueue_wait
WHERE depqueue_wait.job_id IN %(ids)s
