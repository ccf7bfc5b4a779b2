-- How many consumers of Kombu's kind each queue has, and in how many processes.
SELECT depqueue.subscription.queue_id, sum(depqueue.subscription.count) AS sum_1,
    count(*) AS count_1
FROM depqueue.subscription GROUP BY depqueue.subscription.queue_id
