-- The tokens of leases not renewed for p_age seconds; those of a consumer that is forgotten never will be.
SELECT depqueue_job.queue_id, depqueue_job.rank, depqueue_job.seq, depqueue_job.lease_token
FROM depqueue_job LEFT OUTER JOIN depqueue_consumer ON depqueue_consumer.id = depqueue_job.consumer_id
WHERE depqueue_job.consumer_id IS NOT NULL AND (depqueue_consumer.id IS NULL
    OR ((depqueue_consumer.beat_at - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) + :p_age <= 0)
    ORDER BY depqueue_consumer.beat_at, depqueue_job.seq
