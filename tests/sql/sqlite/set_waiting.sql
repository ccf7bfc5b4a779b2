-- Ask (or not) to be woken up.
UPDATE depqueue_consumer SET waiting=:p_waiting WHERE depqueue_consumer.id = :p_id
