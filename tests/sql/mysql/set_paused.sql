-- Pause or resume a queue.
UPDATE depqueue_queue FORCE INDEX (PRIMARY) SET paused=%(p_paused)s
    WHERE depqueue_queue.id = %(p_queue)s
