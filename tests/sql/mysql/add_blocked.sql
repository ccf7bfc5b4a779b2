-- Note how many dependencies a job waits for.
INSERT INTO depqueue_blocked (job_id, pending) VALUES (%(p_job_id)s, %(p_pending)s)
