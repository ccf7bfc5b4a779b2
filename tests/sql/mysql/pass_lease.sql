-- Let a held job stand under another consumer's lease.
UPDATE depqueue_job FORCE INDEX (PRIMARY) SET consumer_id=%(p_consumer)s
    WHERE depqueue_job.queue_id = %(p_queue)s AND depqueue_job.`rank` = %(p_rank)s
    AND depqueue_job.seq = %(p_seq)s AND depqueue_job.lease_token = %(p_token)s
