-- A fact about the schema.
SELECT depqueue.meta.value
FROM depqueue.meta
WHERE depqueue.meta.key = %(p_key)s::VARCHAR
