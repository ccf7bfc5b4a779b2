-- Add a queue unless it is there.
INSERT INTO depqueue_queue (channel, name) VALUES (%(p_channel)s,
    %(p_name)s) ON DUPLICATE KEY UPDATE id = depqueue_queue.id
