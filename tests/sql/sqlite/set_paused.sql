-- Pause or resume a queue.
UPDATE depqueue_queue SET paused=:p_paused WHERE depqueue_queue.id = :p_queue
