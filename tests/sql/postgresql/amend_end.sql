-- Add to the record of an ended job what was not known before.
UPDATE depqueue.done SET reason=%(p_reason)s::VARCHAR, result=%(p_result)s, meta=%(p_meta)s
    WHERE depqueue.done.job_id = %(p_job_id)s::UUID
