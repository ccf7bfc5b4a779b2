-- Delete an ephemeral queue for good.
DELETE FROM depqueue_queue WHERE depqueue_queue.id = :p_queue AND depqueue_queue.ephemeral = 1
