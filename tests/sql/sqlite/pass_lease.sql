-- Let a held job stand under another consumer's lease.
UPDATE depqueue_job SET consumer_id=:p_consumer WHERE depqueue_job.queue_id = :p_queue
    AND depqueue_job.rank = :p_rank AND depqueue_job.seq = :p_seq
    AND depqueue_job.lease_token = :p_token
