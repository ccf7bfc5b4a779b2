-- Note what was declared of a queue.
UPDATE depqueue_queue FORCE INDEX (PRIMARY) SET ephemeral=%(p_ephemeral)s,
    auto_delete=%(p_auto_delete)s, declared=%(declared)s, arguments=%(p_arguments)s,
    idle_limit=%(p_idle_limit)s, used_at=TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)),
    owner_id=%(p_owner)s WHERE depqueue_queue.id = %(p_queue)s
