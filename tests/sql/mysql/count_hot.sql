-- Ready and leased jobs of a queue, up to the count limit.
SELECT count(*) - count(anon_2.consumer_id) AS anon_1, count(anon_2.consumer_id) AS count_1
FROM (SELECT depqueue_job.consumer_id AS consumer_id
FROM depqueue_job
WHERE depqueue_job.queue_id = %(p_queue)s
LIMIT 10001) AS anon_2
