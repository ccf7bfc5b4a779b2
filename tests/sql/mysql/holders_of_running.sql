-- Which of some consumers hold such jobs, and how long these may then still tell their outcome.
SELECT DISTINCT depqueue_job.consumer_id, depqueue_consumer.orphan_after
FROM depqueue_job LEFT OUTER JOIN depqueue_consumer ON depqueue_consumer.id = depqueue_job.consumer_id
WHERE depqueue_job.consumer_id IN %(ids)s AND (flags & 16) != 0
