-- How many consumers of Kombu's kind each queue has, and in how many processes.
SELECT depqueue_subscription.queue_id, sum(depqueue_subscription.count) AS sum_1,
    count(*) AS count_1
FROM depqueue_subscription GROUP BY depqueue_subscription.queue_id
