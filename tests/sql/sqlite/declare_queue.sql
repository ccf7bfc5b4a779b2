-- Note what was declared of a queue.
UPDATE depqueue_queue SET ephemeral=:p_ephemeral, auto_delete=:p_auto_delete, declared=:declared,
    arguments=:p_arguments, idle_limit=:p_idle_limit,
    used_at=CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER), owner_id=:p_owner
    WHERE depqueue_queue.id = :p_queue
