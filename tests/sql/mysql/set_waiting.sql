-- Ask (or not) to be woken up.
UPDATE depqueue_consumer FORCE INDEX (PRIMARY) SET waiting=%(p_waiting)s
    WHERE depqueue_consumer.id = %(p_id)s
