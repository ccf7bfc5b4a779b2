-- Add a queue unless it is there.
INSERT INTO depqueue.queue (channel, name) VALUES (%(p_channel)s::VARCHAR,
    %(p_name)s::VARCHAR) ON CONFLICT DO NOTHING RETURNING depqueue.queue.id
