-- The job and the holder behind a token.
SELECT depqueue.job.job_id, depqueue.job.consumer_id, (SELECT depqueue.consumer.kind
FROM depqueue.consumer
WHERE depqueue.consumer.id = depqueue.job.consumer_id) AS anon_1
FROM depqueue.job
WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER AND depqueue.job.rank = %(p_rank)s::SMALLINT
    AND depqueue.job.seq = %(p_seq)s::BIGINT AND depqueue.job.lease_token = %(p_token)s::BIGINT
