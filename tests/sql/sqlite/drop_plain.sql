-- ... and take them out of the hot table.
DELETE FROM depqueue_job WHERE depqueue_job.seq IN (SELECT value FROM json_each(:seqs))
    AND depqueue_job.lease_token = :p_token AND (flags & 2) = 0 RETURNING seq
