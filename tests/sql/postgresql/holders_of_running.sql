-- Which of some consumers hold such jobs.
SELECT DISTINCT depqueue.job.consumer_id
FROM depqueue.job
WHERE depqueue.job.consumer_id = ANY (%(ids)s::BIGINT[]) AND (flags & 16) != 0
