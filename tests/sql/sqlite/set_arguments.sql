-- Change what a queue was declared with.
UPDATE depqueue_queue SET arguments=:p_arguments WHERE depqueue_queue.id = :p_queue
