-- Ready and leased jobs of a queue, up to the count limit.
SELECT count(*) - count(anon_2.consumer_id) AS anon_1, count(anon_2.consumer_id) AS count_1
FROM (SELECT depqueue.job.consumer_id AS consumer_id
FROM depqueue.job
WHERE depqueue.job.queue_id = %(p_queue)s::INTEGER
LIMIT 10001) AS anon_2
