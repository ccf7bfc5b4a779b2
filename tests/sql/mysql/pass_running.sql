-- Let such jobs stand under another lease.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq
FROM depqueue_job
WHERE depqueue_job.consumer_id = %(p_from)s AND (flags & 16) != 0;
UPDATE depqueue_job FORCE INDEX (PRIMARY) SET consumer_id=%(p_consumer)s WHERE <keys>
    AND depqueue_job.consumer_id = %(p_from)s AND (flags & 16) != 0
