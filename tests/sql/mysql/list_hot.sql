-- Ready, leased and running jobs by id.
SELECT stretch.job_id, depqueue_queue.name, depqueue_queue.channel,
    CASE WHEN (stretch.consumer_id IS NULL) THEN 'ready' WHEN ((stretch.flags & 16) != 0) THEN 'running' ELSE 'leased' END AS state,
    stretch.created_at, stretch.claimed_at, stretch.run_at, stretch.attempt
FROM (SELECT depqueue_job.job_id AS job_id, depqueue_job.queue_id AS queue_id,
    depqueue_job.consumer_id AS consumer_id, depqueue_job.flags AS flags,
    depqueue_job.created_at AS created_at, depqueue_job.claimed_at AS claimed_at,
    depqueue_job.run_at AS run_at, depqueue_job.attempt AS attempt
FROM depqueue_job
WHERE depqueue_job.job_id IS NOT NULL AND depqueue_job.job_id >= %(p_from)s
    AND depqueue_job.job_id < %(p_before)s ORDER BY depqueue_job.job_id DESC
LIMIT 20002) AS stretch INNER JOIN depqueue_queue ON depqueue_queue.id = stretch.queue_id
WHERE (%(p_name)s IS NULL OR depqueue_queue.name = %(p_name)s) AND (%(p_channel)s IS NULL
    OR depqueue_queue.channel = %(p_channel)s) AND (%(p_state)s IS NULL
    OR CASE WHEN (stretch.consumer_id IS NULL) THEN 'ready' WHEN ((stretch.flags & 16) != 0) THEN 'running' ELSE 'leased' END = %(p_state)s)
    ORDER BY stretch.job_id DESC
LIMIT %(p_limit)s
