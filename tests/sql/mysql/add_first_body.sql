-- The same for a job that has never been anywhere.
INSERT INTO depqueue_ended_body (job_id, `rank`, max_attempts, envelope, body) VALUES (%(p_job_id)s,
    %(p_rank)s, %(p_max_attempts)s, %(p_envelope)s, %(p_body)s)
