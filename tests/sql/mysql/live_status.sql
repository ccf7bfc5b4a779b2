-- A ready or leased job.
SELECT depqueue_job.queue_id, depqueue_job.`rank`, depqueue_job.seq, depqueue_job.attempt,
    depqueue_job.max_attempts, depqueue_job.created_at, depqueue_job.claimed_at,
    depqueue_job.run_at, depqueue_job.consumer_id, depqueue_consumer.name,
    depqueue_consumer.leased_until, depqueue_queue.name AS name_1, depqueue_queue.channel,
    depqueue_queue.paused, depqueue_job.flags
FROM depqueue_job INNER JOIN depqueue_queue ON depqueue_queue.id = depqueue_job.queue_id LEFT OUTER JOIN depqueue_consumer ON depqueue_consumer.id = depqueue_job.consumer_id
WHERE depqueue_job.job_id = %(p_job_id)s
