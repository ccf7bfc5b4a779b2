-- Change what a queue was declared with.
UPDATE depqueue_queue FORCE INDEX (PRIMARY) SET arguments=%(p_arguments)s
    WHERE depqueue_queue.id = %(p_queue)s
