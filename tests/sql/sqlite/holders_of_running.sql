-- Which of some consumers hold such jobs.
SELECT DISTINCT depqueue_job.consumer_id
FROM depqueue_job
WHERE depqueue_job.consumer_id IN (SELECT value FROM json_each(:ids)) AND (flags & 16) != 0
