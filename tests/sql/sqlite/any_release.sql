-- Some notes that nobody works on.
SELECT depqueue_release.dep_id, depqueue_release.status, depqueue_release.after_id
FROM depqueue_release
LIMIT 1000 OFFSET :param_1
