-- Differs: one range of the index for each priority that a lane has wholly.

        InnoDB notices the end of a range at a row that is there; until then it passes by all that were deleted and
        that an old snapshot still sees. With `rank > ... AND rank < ...` 20,000 of those took 5 ms, so 0.6 ms.
        
SELECT depqueue_job.`rank`, depqueue_job.seq
FROM depqueue_job FORCE INDEX (PRIMARY)
WHERE depqueue_job.queue_id = %(p_queue)s AND (%(p_after)s > 0 AND depqueue_job.`rank` = %(p_rank)s
    AND depqueue_job.seq > %(p_after)s OR depqueue_job.`rank` IN %(ranks)s)
    AND depqueue_job.consumer_id IS NULL AND (EXISTS (SELECT *
FROM depqueue_queue
WHERE depqueue_queue.id = %(p_queue)s AND depqueue_queue.paused = 0)) ORDER BY depqueue_job.`rank`,
    depqueue_job.seq
LIMIT %(p_limit)s
