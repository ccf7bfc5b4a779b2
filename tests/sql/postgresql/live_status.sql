-- A ready or leased job.
SELECT depqueue.job.queue_id, depqueue.job.rank, depqueue.job.seq, depqueue.job.attempt,
    depqueue.job.max_attempts, depqueue.job.created_at, depqueue.job.claimed_at,
    depqueue.job.run_at, depqueue.job.consumer_id, depqueue.consumer.name,
    depqueue.consumer.leased_until, depqueue.queue.name AS name_1, depqueue.queue.channel,
    depqueue.queue.paused, depqueue.job.flags
FROM depqueue.job JOIN depqueue.queue ON depqueue.queue.id = depqueue.job.queue_id LEFT OUTER JOIN depqueue.consumer ON depqueue.consumer.id = depqueue.job.consumer_id
WHERE depqueue.job.job_id = %(p_job_id)s::UUID
