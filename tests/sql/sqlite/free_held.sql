-- Make the jobs of dead consumers ready again; their tokens stay good until they are handed out again.
UPDATE depqueue_job SET consumer_id=:consumer_id, flags=(depqueue_job.flags | 8)
    WHERE depqueue_job.consumer_id IN (SELECT value FROM json_each(:ids)) AND (flags & 16) = 0
    RETURNING queue_id
