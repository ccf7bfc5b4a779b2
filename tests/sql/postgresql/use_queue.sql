-- A queue is in use.
UPDATE depqueue.queue SET used_at=statement_timestamp()
    WHERE depqueue.queue.id = %(p_queue)s::INTEGER
