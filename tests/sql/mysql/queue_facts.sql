-- What is known of a queue by name.
SELECT depqueue_queue.id, depqueue_queue.declared, depqueue_queue.ephemeral,
    depqueue_queue.auto_delete, depqueue_queue.owner_id, depqueue_queue.arguments
FROM depqueue_queue
WHERE depqueue_queue.channel = '' AND depqueue_queue.name = %(p_name)s
