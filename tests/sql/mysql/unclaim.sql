-- Undo claims by token, as if they had not been.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.consumer_id = %(p_consumer)s AND depqueue_job.lease_token IN %(tokens)s;
UPDATE depqueue_job FORCE INDEX (PRIMARY) SET consumer_id=%(consumer_id)s,
    lease_token=%(lease_token)s, attempt=(depqueue_job.attempt - 1) WHERE <keys>
    AND depqueue_job.consumer_id = %(p_consumer)s AND depqueue_job.lease_token IN %(tokens)s
