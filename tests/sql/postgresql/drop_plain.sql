-- ... and take them out of the hot table.
DELETE FROM depqueue.job WHERE depqueue.job.seq = ANY (%(seqs)s::BIGINT[])
    AND depqueue.job.lease_token = %(p_token)s::BIGINT AND (flags & 2) = 0
    RETURNING depqueue.job.seq
