-- Consumers are gone.
DELETE FROM depqueue_subscription WHERE depqueue_subscription.consumer_id IN (SELECT value
    FROM json_each(:ids))
