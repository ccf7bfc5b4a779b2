-- Consumers are gone.
DELETE FROM depqueue.subscription WHERE depqueue.subscription.consumer_id = ANY (%(ids)s::BIGINT[])
