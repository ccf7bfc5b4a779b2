-- Take back those that one was thought to have left behind.
UPDATE depqueue_job SET consumer_id=:p_consumer
    WHERE depqueue_job.consumer_id IN (SELECT depqueue_consumer.id
FROM depqueue_consumer
WHERE depqueue_consumer.kind = 4 AND depqueue_consumer.name = :p_name)
