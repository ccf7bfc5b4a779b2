-- Forget their payloads.
DELETE FROM depqueue_ended_body WHERE depqueue_ended_body.job_id IN (SELECT value
    FROM json_each(:ids))
