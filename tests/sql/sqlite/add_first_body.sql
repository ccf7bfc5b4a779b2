-- The same for a job that has never been anywhere.
INSERT INTO depqueue_ended_body (job_id, rank, max_attempts, envelope, body) VALUES (:p_job_id,
    :p_rank, :p_max_attempts, :p_envelope, :p_body)
