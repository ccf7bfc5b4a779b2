-- ... and take it out of the hot table.
DELETE FROM depqueue_job WHERE depqueue_job.queue_id = :p_queue AND depqueue_job.rank = :p_rank
    AND depqueue_job.seq = :p_seq AND depqueue_job.lease_token = :p_token
