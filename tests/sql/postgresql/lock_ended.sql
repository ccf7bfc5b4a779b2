-- Dependencies that have ended, kept from being pruned meanwhile.
SELECT depqueue.done.job_id, depqueue.done.status
FROM depqueue.done
WHERE depqueue.done.job_id = ANY (%(ids)s::UUID[]) FOR SHARE
