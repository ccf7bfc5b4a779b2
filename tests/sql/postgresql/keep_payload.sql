-- Keep the payload of a held job, unseen, as that of an ended one ...
INSERT INTO depqueue.ended_body (job_id, rank, max_attempts, envelope,
    body) SELECT depqueue.job.job_id, depqueue.job.rank, depqueue.job.max_attempts,
    depqueue.job.envelope, depqueue.job.body
FROM depqueue.job
WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER AND depqueue.job.rank = %(p_rank)s::SMALLINT
    AND depqueue.job.seq = %(p_seq)s::BIGINT AND depqueue.job.lease_token = %(p_token)s::BIGINT
    AND depqueue.job.job_id IS NOT NULL
