-- What is known of a queue by name.
SELECT depqueue.queue.id, depqueue.queue.declared, depqueue.queue.ephemeral,
    depqueue.queue.auto_delete, depqueue.queue.owner_id, depqueue.queue.arguments
FROM depqueue.queue
WHERE depqueue.queue.channel = '' AND depqueue.queue.name = %(p_name)s::VARCHAR
