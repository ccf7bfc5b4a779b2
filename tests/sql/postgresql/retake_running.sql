-- Take back those that one was thought to have left behind.
UPDATE depqueue.job SET consumer_id=%(p_consumer)s::BIGINT
    WHERE depqueue.job.consumer_id IN (SELECT depqueue.consumer.id
FROM depqueue.consumer
WHERE depqueue.consumer.kind = 4 AND depqueue.consumer.name = %(p_name)s::VARCHAR)
