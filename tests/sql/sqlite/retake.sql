-- Lease again jobs whose lease expired, but which nobody was given yet.
UPDATE depqueue_job SET consumer_id=:p_consumer WHERE depqueue_job.lease_token IN (SELECT value
    FROM json_each(:tokens)) AND depqueue_job.job_id IN (SELECT value FROM json_each(:ids))
    AND depqueue_job.consumer_id IS NULL
