-- A consumer begins to consume a queue.
INSERT INTO depqueue.subscription (queue_id, consumer_id, count) VALUES (%(p_queue)s::INTEGER,
    %(p_id)s::BIGINT, %(p_count)s::INTEGER)
