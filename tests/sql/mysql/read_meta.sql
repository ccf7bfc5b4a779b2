-- A fact about the schema.
SELECT depqueue_meta.value
FROM depqueue_meta
WHERE depqueue_meta.`key` = %(p_key)s
