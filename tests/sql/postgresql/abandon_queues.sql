-- Exclusive and auto-delete queues of consumers that have died may go as soon as nobody else consumes them.
UPDATE depqueue.queue SET idle_limit=0.0, used_at=statement_timestamp()
    WHERE depqueue.queue.owner_id = ANY (%(ids)s::BIGINT[]) OR depqueue.queue.auto_delete
    AND depqueue.queue.id IN (SELECT depqueue.subscription.queue_id
FROM depqueue.subscription
WHERE depqueue.subscription.consumer_id = ANY (%(ids)s::BIGINT[]))
