-- How many ready jobs come before one (up to 10,000).
SELECT count(*) AS count_1
FROM (SELECT depqueue_job.seq AS seq
FROM depqueue_job
WHERE depqueue_job.queue_id = %(p_queue)s AND depqueue_job.consumer_id IS NULL
    AND (depqueue_job.`rank` < %(p_rank)s OR depqueue_job.`rank` = %(p_rank)s
    AND depqueue_job.seq < %(p_seq)s)
LIMIT 10000) AS anon_1
