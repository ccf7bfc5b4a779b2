-- The note of one ended job.
SELECT depqueue_release.dep_id, depqueue_release.status, depqueue_release.after_id
FROM depqueue_release
WHERE depqueue_release.dep_id = :p_dep_id
