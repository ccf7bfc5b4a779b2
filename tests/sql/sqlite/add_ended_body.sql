-- Keep the payload of a job that may be retried.
INSERT INTO depqueue_ended_body (job_id, rank, max_attempts, envelope, body) VALUES (:p_job_id,
    :p_rank, :p_max_attempts, :p_envelope,
    :p_body) ON CONFLICT (job_id) DO UPDATE SET rank = excluded.rank,
    max_attempts = excluded.max_attempts, envelope = excluded.envelope, body = excluded.body
