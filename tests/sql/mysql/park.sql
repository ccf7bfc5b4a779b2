-- Let a held job be running in nobody's hands.
UPDATE depqueue_job FORCE INDEX (PRIMARY) SET consumer_id=0, lease_token=0,
    flags=(depqueue_job.flags | 16) WHERE depqueue_job.queue_id = %(p_queue)s
    AND depqueue_job.`rank` = %(p_rank)s AND depqueue_job.seq = %(p_seq)s
    AND depqueue_job.lease_token = %(p_token)s
