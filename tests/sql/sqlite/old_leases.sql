-- The tokens of leases not renewed for p_age seconds.
SELECT depqueue_job.queue_id, depqueue_job.rank, depqueue_job.seq, depqueue_job.lease_token
FROM depqueue_job JOIN depqueue_consumer ON depqueue_consumer.id = depqueue_job.consumer_id
WHERE ((depqueue_consumer.beat_at - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) + :p_age <= 0
    ORDER BY depqueue_consumer.beat_at, depqueue_job.seq
