-- What is known of the schema.
SELECT depqueue.meta.key, depqueue.meta.value
FROM depqueue.meta
WHERE depqueue.meta.key IN ('schema_version', 'schema_libraries', 'schema_migrating')
