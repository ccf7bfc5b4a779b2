-- A queue is in use.
UPDATE depqueue_queue FORCE INDEX (PRIMARY) SET used_at=TIMESTAMPDIFF(MICROSECOND, '1970-01-01',
    UTC_TIMESTAMP(6)) WHERE depqueue_queue.id = %(p_queue)s
