-- The tokens of leases not renewed for p_age seconds; those of a consumer that is forgotten never will be.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq, depqueue_job.lease_token
FROM depqueue_job LEFT OUTER JOIN depqueue_consumer ON depqueue_consumer.id = depqueue_job.consumer_id
WHERE depqueue_job.consumer_id IS NOT NULL AND (depqueue_consumer.id IS NULL
    OR ((depqueue_consumer.beat_at - TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6))) / 1e6) + %(p_age)s <= 0) ORDER BY depqueue_consumer.beat_at, depqueue_job.seq
