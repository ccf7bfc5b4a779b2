-- Delete an ephemeral queue for good.
DELETE FROM depqueue.queue WHERE depqueue.queue.id = %(p_queue)s::INTEGER
    AND depqueue.queue.ephemeral
