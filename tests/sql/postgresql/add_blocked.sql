-- Note how many dependencies a job waits for.
INSERT INTO depqueue.blocked (job_id, pending) VALUES (%(p_job_id)s::UUID, %(p_pending)s::INTEGER)
