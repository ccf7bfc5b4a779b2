-- Keep the payload of a held job, unseen, as that of an ended one ...
INSERT INTO depqueue_ended_body (job_id, `rank`, max_attempts, envelope,
    body) SELECT depqueue_job.job_id, depqueue_job.`rank`, depqueue_job.max_attempts,
    depqueue_job.envelope, depqueue_job.body
FROM depqueue_job
WHERE depqueue_job.queue_id = %(p_queue)s AND depqueue_job.`rank` = %(p_rank)s
    AND depqueue_job.seq = %(p_seq)s AND depqueue_job.lease_token = %(p_token)s
    AND depqueue_job.job_id IS NOT NULL
