-- Add to the record of an ended job what was not known before.
UPDATE depqueue_done SET reason=:p_reason, result=:p_result, meta=:p_meta
    WHERE depqueue_done.job_id = :p_job_id
