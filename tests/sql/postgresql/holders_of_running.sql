-- Which of some consumers hold such jobs, and how long these may then still tell their outcome.
SELECT DISTINCT depqueue.job.consumer_id, depqueue.consumer.orphan_after
FROM depqueue.job LEFT OUTER JOIN depqueue.consumer ON depqueue.consumer.id = depqueue.job.consumer_id
WHERE depqueue.job.consumer_id = ANY (%(ids)s::BIGINT[]) AND (flags & 16) != 0
