-- What is known of the schema.
SELECT depqueue_meta."key", depqueue_meta.value
FROM depqueue_meta
WHERE depqueue_meta."key" IN ('schema_version', 'schema_libraries', 'schema_migrating')
