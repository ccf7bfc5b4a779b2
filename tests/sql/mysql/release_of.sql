-- The note of one ended job.
SELECT depqueue_release.dep_id AS key_0, depqueue_release.dep_id, depqueue_release.status,
    depqueue_release.after_id
FROM depqueue_release FORCE INDEX (PRIMARY)
WHERE depqueue_release.dep_id = %(p_dep_id)s FOR UPDATE SKIP LOCKED
