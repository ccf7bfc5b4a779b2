-- A queue was deleted; its number stays.
UPDATE depqueue.queue SET auto_delete=%(auto_delete)s, declared=%(declared)s,
    arguments=%(arguments)s::VARCHAR, idle_limit=%(idle_limit)s, owner_id=%(owner_id)s::BIGINT
    WHERE depqueue.queue.id = %(p_queue)s::INTEGER
