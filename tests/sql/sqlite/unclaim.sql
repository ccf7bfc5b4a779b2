-- Undo claims by token, as if they had not been.
UPDATE depqueue_job SET consumer_id=:consumer_id, lease_token=:lease_token,
    attempt=(depqueue_job.attempt - 1) WHERE depqueue_job.consumer_id = :p_consumer
    AND depqueue_job.lease_token IN (SELECT value FROM json_each(:tokens))
