-- Add a queue unless it is there.
INSERT INTO depqueue_queue (channel, name) VALUES (:p_channel, :p_name) ON CONFLICT DO NOTHING
