-- A consumer begins to consume a queue.
INSERT INTO depqueue_subscription (queue_id, consumer_id, count) VALUES (:p_queue, :p_id, :p_count)
