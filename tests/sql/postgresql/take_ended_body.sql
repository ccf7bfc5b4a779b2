-- Take its payload.
DELETE FROM depqueue.ended_body WHERE depqueue.ended_body.job_id = %(p_job_id)s::UUID
    RETURNING depqueue.ended_body.rank, depqueue.ended_body.max_attempts,
    depqueue.ended_body.envelope, depqueue.ended_body.body
