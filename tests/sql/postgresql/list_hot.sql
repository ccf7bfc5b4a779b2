-- Ready, leased and running jobs by id.
SELECT stretch.job_id, depqueue.queue.name, depqueue.queue.channel,
    CASE WHEN (stretch.consumer_id IS NULL) THEN 'ready' WHEN ((stretch.flags & 16) != 0) THEN 'running' ELSE 'leased' END AS state,
    stretch.created_at, stretch.claimed_at, stretch.run_at, stretch.attempt
FROM (SELECT depqueue.job.job_id AS job_id, depqueue.job.queue_id AS queue_id,
    depqueue.job.consumer_id AS consumer_id, depqueue.job.flags AS flags,
    depqueue.job.created_at AS created_at, depqueue.job.claimed_at AS claimed_at,
    depqueue.job.run_at AS run_at, depqueue.job.attempt AS attempt
FROM depqueue.job
WHERE depqueue.job.job_id IS NOT NULL AND depqueue.job.job_id >= %(p_from)s::UUID
    AND depqueue.job.job_id < %(p_before)s::UUID ORDER BY depqueue.job.job_id DESC
LIMIT 20002) AS stretch JOIN depqueue.queue ON depqueue.queue.id = stretch.queue_id
WHERE (%(p_name)s::VARCHAR IS NULL OR depqueue.queue.name = %(p_name)s::VARCHAR)
    AND (%(p_channel)s::VARCHAR IS NULL OR depqueue.queue.channel = %(p_channel)s::VARCHAR)
    AND (%(p_state)s::VARCHAR IS NULL
    OR CASE WHEN (stretch.consumer_id IS NULL) THEN 'ready' WHEN ((stretch.flags & 16) != 0) THEN 'running' ELSE 'leased' END = %(p_state)s::VARCHAR)
    ORDER BY stretch.job_id DESC
LIMIT %(p_limit)s::INTEGER
