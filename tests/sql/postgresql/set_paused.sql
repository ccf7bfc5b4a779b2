-- Pause or resume a queue.
UPDATE depqueue.queue SET paused=%(p_paused)s WHERE depqueue.queue.id = %(p_queue)s::INTEGER
