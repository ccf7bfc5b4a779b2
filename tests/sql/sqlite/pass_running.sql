-- Let such jobs stand under another lease.
UPDATE depqueue_job SET consumer_id=:p_consumer WHERE depqueue_job.consumer_id = :p_from
    AND (flags & 16) != 0
