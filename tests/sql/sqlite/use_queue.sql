-- A queue is in use.
UPDATE depqueue_queue SET used_at=CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)
    WHERE depqueue_queue.id = :p_queue
