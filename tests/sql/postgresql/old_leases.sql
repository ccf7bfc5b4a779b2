-- The tokens of leases not renewed for p_age seconds; those of a consumer that is forgotten never will be.
SELECT depqueue.job.queue_id, depqueue.job.rank, depqueue.job.seq, depqueue.job.lease_token
FROM depqueue.job LEFT OUTER JOIN depqueue.consumer ON depqueue.consumer.id = depqueue.job.consumer_id
WHERE depqueue.job.consumer_id IS NOT NULL AND (depqueue.consumer.id IS NULL OR CAST(EXTRACT(EPOCH
    FROM (depqueue.consumer.beat_at - statement_timestamp())) AS float8) + %(p_age)s <= 0)
    ORDER BY depqueue.consumer.beat_at, depqueue.job.seq
