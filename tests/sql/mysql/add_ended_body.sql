-- Keep the payload of a job that may be retried.
INSERT INTO depqueue_ended_body (job_id, `rank`, max_attempts, envelope, body) VALUES (%(p_job_id)s,
    %(p_rank)s, %(p_max_attempts)s, %(p_envelope)s,
    %(p_body)s) ON DUPLICATE KEY UPDATE `rank` = values(depqueue_ended_body.`rank`),
    max_attempts = values(depqueue_ended_body.max_attempts),
    envelope = values(depqueue_ended_body.envelope), body = values(depqueue_ended_body.body)
