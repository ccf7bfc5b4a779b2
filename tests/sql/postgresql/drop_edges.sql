-- Forget the edges to their dependencies.
DELETE FROM depqueue.dep WHERE depqueue.dep.job_id = ANY (%(ids)s::UUID[])
