-- A queue was deleted; its number stays.
UPDATE depqueue_queue FORCE INDEX (PRIMARY) SET auto_delete=%(auto_delete)s, declared=%(declared)s,
    arguments=%(arguments)s, idle_limit=%(idle_limit)s, owner_id=%(owner_id)s
    WHERE depqueue_queue.id = %(p_queue)s
