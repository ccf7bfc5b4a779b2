-- Ask (or not) to be woken up.
UPDATE depqueue.consumer SET waiting=%(p_waiting)s WHERE depqueue.consumer.id = %(p_id)s::BIGINT
