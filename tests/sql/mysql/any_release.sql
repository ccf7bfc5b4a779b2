-- Some notes that nobody works on.
SELECT depqueue_release.dep_id
FROM depqueue_release
LIMIT 1000;
SELECT depqueue_release.dep_id AS key_0, depqueue_release.dep_id, depqueue_release.status,
    depqueue_release.after_id
FROM depqueue_release FORCE INDEX (PRIMARY)
WHERE <keys> FOR UPDATE SKIP LOCKED
