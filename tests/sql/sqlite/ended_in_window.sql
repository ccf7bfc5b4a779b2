-- Jobs that ended in a span of time, among the records in a window of `keep_until`, by queue and outcome.
SELECT ended.queue_id, ended.status, ended.dead, count(*) AS count_1, sum(ended.again) AS sum_1,
    count(ended.waited) AS count_2, sum(ended.waited) AS sum_2,
    sum(CASE WHEN (ended.waited <= 0.005) THEN 1 ELSE 0 END) AS sum_3,
    sum(CASE WHEN (ended.waited <= 0.025) THEN 1 ELSE 0 END) AS sum_4,
    sum(CASE WHEN (ended.waited <= 0.1) THEN 1 ELSE 0 END) AS sum_5,
    sum(CASE WHEN (ended.waited <= 0.5) THEN 1 ELSE 0 END) AS sum_6,
    sum(CASE WHEN (ended.waited <= 1.0) THEN 1 ELSE 0 END) AS sum_7,
    sum(CASE WHEN (ended.waited <= 5.0) THEN 1 ELSE 0 END) AS sum_8,
    sum(CASE WHEN (ended.waited <= 30.0) THEN 1 ELSE 0 END) AS sum_9,
    sum(CASE WHEN (ended.waited <= 120.0) THEN 1 ELSE 0 END) AS sum_10,
    sum(CASE WHEN (ended.waited <= 600.0) THEN 1 ELSE 0 END) AS sum_11,
    sum(CASE WHEN (ended.waited <= 3600.0) THEN 1 ELSE 0 END) AS sum_12,
    sum(CASE WHEN (ended.waited <= 21600.0) THEN 1 ELSE 0 END) AS sum_13,
    sum(CASE WHEN (ended.waited <= 86400.0) THEN 1 ELSE 0 END) AS sum_14,
    count(ended.ran) AS count_3, sum(ended.ran) AS sum_15,
    sum(CASE WHEN (ended.ran <= 0.005) THEN 1 ELSE 0 END) AS sum_16,
    sum(CASE WHEN (ended.ran <= 0.025) THEN 1 ELSE 0 END) AS sum_17,
    sum(CASE WHEN (ended.ran <= 0.1) THEN 1 ELSE 0 END) AS sum_18,
    sum(CASE WHEN (ended.ran <= 0.5) THEN 1 ELSE 0 END) AS sum_19,
    sum(CASE WHEN (ended.ran <= 1.0) THEN 1 ELSE 0 END) AS sum_20,
    sum(CASE WHEN (ended.ran <= 5.0) THEN 1 ELSE 0 END) AS sum_21,
    sum(CASE WHEN (ended.ran <= 30.0) THEN 1 ELSE 0 END) AS sum_22,
    sum(CASE WHEN (ended.ran <= 120.0) THEN 1 ELSE 0 END) AS sum_23,
    sum(CASE WHEN (ended.ran <= 600.0) THEN 1 ELSE 0 END) AS sum_24,
    sum(CASE WHEN (ended.ran <= 3600.0) THEN 1 ELSE 0 END) AS sum_25,
    sum(CASE WHEN (ended.ran <= 21600.0) THEN 1 ELSE 0 END) AS sum_26,
    sum(CASE WHEN (ended.ran <= 86400.0) THEN 1 ELSE 0 END) AS sum_27
FROM (SELECT depqueue_done.queue_id AS queue_id, depqueue_done.status AS status,
    CASE WHEN (depqueue_done.status = 2 AND (depqueue_done.reason LIKE 'dead:%'
    OR depqueue_done.reason LIKE 'lost:%')) THEN 1 ELSE 0 END AS dead,
    CASE WHEN (depqueue_done.attempt > 1) THEN depqueue_done.attempt - 1 ELSE 0 END AS again,
    ((depqueue_done.started_at - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) - ((depqueue_done.created_at - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) AS waited,
    CASE WHEN (depqueue_done.status <= 2) THEN ((depqueue_done.finished_at - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) - ((depqueue_done.started_at - CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)) / 1000000.0) END AS ran
FROM depqueue_done
WHERE depqueue_done.keep_until > :p_from AND depqueue_done.keep_until <= :p_to
    AND depqueue_done.finished_at > :p_after
    AND depqueue_done.finished_at <= :p_upto) AS ended GROUP BY ended.queue_id, ended.status,
    ended.dead
