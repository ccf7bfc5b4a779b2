-- Take its payload.
DELETE FROM depqueue_ended_body WHERE depqueue_ended_body.job_id = :p_job_id RETURNING rank,
    max_attempts, envelope, body
