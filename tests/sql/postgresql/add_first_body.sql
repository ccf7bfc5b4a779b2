-- The same for a job that has never been anywhere.
INSERT INTO depqueue.ended_body (job_id, rank, max_attempts, envelope,
    body) VALUES (%(p_job_id)s::UUID, %(p_rank)s::SMALLINT, %(p_max_attempts)s::INTEGER,
    %(p_envelope)s, %(p_body)s)
