-- Note what was declared of a queue.
UPDATE depqueue.queue SET ephemeral=%(p_ephemeral)s, auto_delete=%(p_auto_delete)s,
    declared=%(declared)s, arguments=%(p_arguments)s::VARCHAR, idle_limit=%(p_idle_limit)s,
    used_at=statement_timestamp(), owner_id=%(p_owner)s::BIGINT
    WHERE depqueue.queue.id = %(p_queue)s::INTEGER
