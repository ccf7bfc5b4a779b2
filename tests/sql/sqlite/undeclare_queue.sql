-- A queue was deleted; its number stays.
UPDATE depqueue_queue SET auto_delete=:auto_delete, declared=:declared, arguments=:arguments,
    idle_limit=:idle_limit, owner_id=:owner_id WHERE depqueue_queue.id = :p_queue
