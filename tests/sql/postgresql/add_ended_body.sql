-- Keep the payload of a job that may be retried.
INSERT INTO depqueue.ended_body (job_id, rank, max_attempts, envelope,
    body) VALUES (%(p_job_id)s::UUID, %(p_rank)s::SMALLINT, %(p_max_attempts)s::INTEGER,
    %(p_envelope)s, %(p_body)s) ON CONFLICT (job_id) DO UPDATE SET rank = excluded.rank,
    max_attempts = excluded.max_attempts, envelope = excluded.envelope, body = excluded.body
