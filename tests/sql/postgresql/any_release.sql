-- Some notes that nobody works on.
SELECT depqueue.release.dep_id, depqueue.release.status, depqueue.release.after_id
FROM depqueue.release
LIMIT 1000 FOR UPDATE SKIP LOCKED
