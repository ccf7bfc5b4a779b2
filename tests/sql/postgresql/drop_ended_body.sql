-- Forget their payloads.
DELETE FROM depqueue.ended_body WHERE depqueue.ended_body.job_id = ANY (%(ids)s::UUID[])
