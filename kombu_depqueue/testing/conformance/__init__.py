"""The conformance suite: every promise of `kombu_depqueue.ports`, tested on a real database.

Run it against the databases that are found (SQLite always):

    pytest -p kombu_depqueue.testing.fixtures --pyargs kombu_depqueue.testing.conformance

against one of them, or against any other database SQLAlchemy knows:

    pytest ... --databases postgresql
    DEPQUEUE_TEST_POSTGRESQL=postgresql://me@host/db pytest ... --databases postgresql
    DEPQUEUE_TEST_URL=dialect+driver://me@host/db pytest ... --databases url

With pytest-xdist (`-n 2`) it is faster. Each test has a schema (or a table
prefix) of its own and removes it; the user needs the right to create them.
"""
