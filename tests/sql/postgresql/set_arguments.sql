-- Change what a queue was declared with.
UPDATE depqueue.queue SET arguments=%(p_arguments)s::VARCHAR
    WHERE depqueue.queue.id = %(p_queue)s::INTEGER
