-- Add to the record of an ended job what was not known before.
UPDATE depqueue_done FORCE INDEX (PRIMARY) SET reason=%(p_reason)s, result=%(p_result)s,
    meta=%(p_meta)s WHERE depqueue_done.job_id = %(p_job_id)s
