-- The note of one ended job.
SELECT depqueue.release.dep_id, depqueue.release.status, depqueue.release.after_id
FROM depqueue.release
WHERE depqueue.release.dep_id = %(p_dep_id)s::UUID FOR UPDATE SKIP LOCKED
