"""A session whose machine is gone in the middle of a transaction, and whose locks stay."""

from __future__ import annotations

import pytest

from kombu_depqueue import Empty
from kombu_depqueue.testing.fixtures import MakeQueue

pytestmark = pytest.mark.only("postgresql", "mysql")


@pytest.mark.timeout(60)
def test_a_transaction_that_nobody_goes_on_with_is_ended_by_the_server(make_queue: MakeQueue) -> None:
    """Its job would be passed over by all claims (SKIP LOCKED) until the server notices: by TCP that takes hours."""
    gone, worker = make_queue(deadline=1), make_queue()
    job_id = gone.enqueue("t")
    database, sql = gone._database, gone._database.dialect.sql
    fairy = database.connect()
    connection = fairy.dbapi_connection
    tx = database.dialect.transaction(connection)
    database.dialect.begin(tx.cursor, durable=True)
    assert tx.all(sql.lock_jobs, ids=[job_id])
    with pytest.raises(Empty):
        worker.dequeue(["t"], 0)
    assert worker.dequeue(["t"], 20).job_id == job_id
    with pytest.raises(database.errors):
        database.dialect.commit(tx.cursor)
    fairy.invalidate()
