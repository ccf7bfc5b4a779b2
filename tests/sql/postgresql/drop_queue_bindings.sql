-- Delete the bindings of a queue.
DELETE FROM depqueue.binding WHERE depqueue.binding.queue_id = %(p_queue)s::INTEGER
