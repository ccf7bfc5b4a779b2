-- The job and the holder behind a token.
SELECT depqueue_job.job_id, depqueue_job.consumer_id, (SELECT depqueue_consumer.kind
FROM depqueue_consumer
WHERE depqueue_consumer.id = depqueue_job.consumer_id) AS anon_1
FROM depqueue_job
WHERE depqueue_job.queue_id = %(p_queue)s AND depqueue_job.`rank` = %(p_rank)s
    AND depqueue_job.seq = %(p_seq)s AND depqueue_job.lease_token = %(p_token)s
