-- Delete the bindings of a queue.
DELETE FROM depqueue_binding WHERE depqueue_binding.queue_id = %(p_queue)s
