-- How many ready jobs come before one (up to 10,000).
SELECT count(*) AS count_1
FROM (SELECT depqueue.job.seq AS seq
FROM depqueue.job
WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER AND depqueue.job.consumer_id IS NULL
    AND (depqueue.job.rank < %(p_rank)s::INTEGER OR depqueue.job.rank = %(p_rank)s::INTEGER
    AND depqueue.job.seq < %(p_seq)s::INTEGER)
LIMIT 10000) AS anon_1
