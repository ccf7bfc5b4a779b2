-- Forget the edges to their dependencies.
DELETE FROM depqueue_dep WHERE depqueue_dep.job_id IN (SELECT value FROM json_each(:ids))
