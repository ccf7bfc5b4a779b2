"""Facts of MariaDB and MySQL.

InnoDB locks what it reads: our statements must read, and so wait for, no rows but those they are about.
"""

from __future__ import annotations

import re
import socket
import ssl
import sys
import time
from importlib.util import find_spec
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from kombu_depqueue import InvalidJob, JobQueue, JobState, StorageError
from kombu_depqueue.dialects import Failure
from kombu_depqueue.dialects.mysql_tx import MySQLTx
from kombu_depqueue.messages import MessageQueue
from kombu_depqueue.testing.fixtures import MakeQueue, Place
from kombu_depqueue.testing.helpers import drain, wait_until

pytestmark = pytest.mark.only("mysql")

LOCKING = re.compile(r"UPDATE |DELETE |SELECT .* (FOR UPDATE|LOCK IN SHARE MODE)", re.DOTALL)


def a_bit_of_all(queue: JobQueue) -> None:
    first = queue.enqueue("default")
    second = queue.enqueue("default", depends_on=[first])
    queue.reserve(0).requeue()
    queue.reserve(0).ack()
    assert queue.reserve(0).job_id == second
    queue.finish(second)
    queue.enqueue("default", delay=0.1)
    wait_until(lambda: drain(queue))
    failed = queue.enqueue("default")
    queue.reserve(0).fail("no")
    queue.retry(failed)
    assert queue.cancel(failed)
    for _ in range(20):
        queue.enqueue("default")
    assert queue.ack_many(queue.reserve_many(20, 0)) == []
    queue._store.rescue(grace=1.0)
    queue._store.prune()
    queue._store.expire()


def test_rows_that_others_have_locked_are_in_nobodys_way(make_queue: MakeQueue, engine: Engine, place: Place) -> None:
    queue = make_queue(deadline=2.0, lease=600.0)
    ready, dependency = queue.enqueue("locked"), queue.enqueue("locked")
    scheduled = queue.enqueue("locked", delay=600)
    blocked = queue.enqueue("locked", depends_on=[dependency])
    ended = queue.enqueue("ended")
    queue.reserve(0, queues=["ended"]).ack()
    with engine.connect() as other:
        for table, ids in (("job", [ready]), ("wait", [scheduled, blocked]), ("blocked", [blocked]), ("done", [ended])):
            names = ", ".join(f"'{i}'" for i in ids)
            where = f"{place.prefix}{table} WHERE job_id IN ({names})"
            assert len(other.execute(text(f"SELECT job_id FROM {where} FOR UPDATE")).all()) == len(ids)
        a_bit_of_all(queue)
        other.rollback()
    assert queue.status(ready).state is JobState.READY


@pytest.mark.bare
def test_no_small_table_is_locked_from_end_to_end(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = make_queue()
    seen, whole = set(), set()
    send = MySQLTx._send

    def explained(tx: MySQLTx, sql: str) -> Any:
        if LOCKING.match(sql) and "_memo" not in sql:  # nobody holds locks there for long
            seen.add(sql)
            tx.cursor.execute(f"EXPLAIN {sql}")
            names = [column[0] for column in tx.cursor.description]
            for row in tx.cursor.fetchall():
                step = dict(zip(names, row, strict=True))
                if step["type"] in ("ALL", "index") and not str(step["table"]).startswith("<"):
                    whole.add(sql)
        return send(tx, sql)

    monkeypatch.setattr(MySQLTx, "_send", explained)
    a_bit_of_all(queue)
    assert len(seen) > 30
    assert sorted(whole) == []


def test_a_transaction_that_does_not_see_what_is_committed_is_refused(queue: JobQueue, place: Place) -> None:
    first = queue.enqueue("default")
    mine = create_engine(place.engine_url, poolclass=NullPool)  # MySQL's default: REPEATABLE READ
    with mine.connect() as connection:
        alone = queue.enqueue("default", connection=connection)  # nothing needs to be seen for that
        with pytest.raises(InvalidJob, match="REPEATABLE-READ; READ COMMITTED is wanted"):
            queue.enqueue("default", depends_on=[first], connection=connection)
        connection.commit()
    mine.dispose()
    assert drain(queue) == [first, alone]


def test_a_call_and_a_connection_end_at_their_deadline(make_queue: MakeQueue) -> None:
    queue = make_queue(deadline=1.0)
    begin = time.monotonic()
    with pytest.raises(StorageError, match="no answer within deadline"):
        queue._database.read(lambda tx: tx.cursor.execute("SELECT SLEEP(20)"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mysql://root@127.0.0.1:{silent.getsockname()[1]}/test"
        with JobQueue(url, create=False, deadline=1.0) as other, pytest.raises(StorageError):
            other.enqueue("default")
    assert time.monotonic() - begin < 8
    assert queue.enqueue("default") == queue.reserve(0).job_id


def test_a_payload_that_the_server_does_not_take_is_a_clear_error(make_queue: MakeQueue) -> None:
    queue = make_queue(max_body_bytes=2**30)
    queue.enqueue("default", 1)
    size = queue._database.read(lambda tx: tx.connection.depqueue_packet)
    begin = time.monotonic()
    with pytest.raises(InvalidJob, match="max_allowed_packet"):
        queue.enqueue("default", "x" * size)
    assert time.monotonic() - begin < 10
    reservation = queue.reserve(0)
    assert reservation.args == 1
    with pytest.raises(InvalidJob, match="max_allowed_packet"):
        reservation.ack("\\" * (size // 2 + 1))
    assert queue.status(reservation.job_id).state is JobState.LEASED


def test_an_outcome_that_the_server_does_not_take_is_refused_before_it_is_told(place: Place) -> None:
    with MessageQueue(place.url, create=True, max_body_bytes=2**30) as queue:
        queue.enqueue("default")
        size = queue._database.read(lambda tx: tx.connection.depqueue_packet)
        fits = queue.ending(JobState.SUCCEEDED, result=b'"%s"' % (b"x" * (size // 4)), meta=b"\0" * (size // 5))
        with pytest.raises(InvalidJob, match="max_allowed_packet"):
            queue.ending(JobState.SUCCEEDED, result=b"1", meta=b"\0" * (size // 2))
        reservation = queue.reserve(0)
        assert queue.conclude(reservation.job_id, fits, token=reservation.token)


@pytest.mark.parametrize("number", [1205, 3572])
def test_whoever_finds_another_migrating_comes_again_on_both_servers(queue: JobQueue, number: int) -> None:
    dialect = queue._database.dialect
    error = dialect.driver_errors()[0](number, "NOWAIT is set")
    assert dialect.failure(error) is Failure.RETRY


def test_names_that_differ_in_case_accents_or_spaces_differ(queue: JobQueue) -> None:
    names = ["a", "A", "a ", "ä", "\N{PILE OF POO}"]
    for name in names:
        queue.enqueue(name, name)
    assert [queue.reserve(0, queues=[name]).args for name in names] == names
    assert sorted(q.name for q in queue.queues()) == sorted(names)


def test_errors_quote_nothing_of_a_row(queue: JobQueue) -> None:
    dialect = queue._database.dialect
    driver = dialect.engine.dialect.dbapi
    error = driver.ProgrammingError(1064, "You have an error near 's3cret' at line 1")
    assert "s3cret" not in str(dialect.without_rows(error))
    error = driver.IntegrityError(1062, "Duplicate entry 's3cret' for key 'x'")
    assert str(dialect.without_rows(error)) == "(1062, \"Duplicate entry '...'\")"


def test_a_driver_that_is_missing_or_not_ours_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, url, cure in (
        ("pymysql", "mysql://u@h/d", "pip install kombu-depqueue[mysql]"),
        ("MySQLdb", "mysql+mysqldb://u@h/d", "pip install mysqlclient"),
        (None, "mysql+aiomysql://u@h/d", "pymysql or mysqldb is wanted: pip install kombu-depqueue[mysql]"),
    ):
        if module:
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(InvalidJob) as refused:
            JobQueue(url)
        assert cure in str(refused.value)


def test_connecting_does_not_read_certificates_that_it_does_not_need(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To read all that the system trusts takes longer than connecting; `test_tls` has where they are needed."""

    def read(*args: object, **options: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(ssl, "create_default_context", read)
    make_queue().enqueue("default")


@pytest.mark.skipif(find_spec("MySQLdb") is None, reason="mysqlclient is not installed")
def test_mysqlclient_will_do_too(make_queue: MakeQueue, place: Place) -> None:
    url = make_url(place.url).set(drivername="mysql+mysqldb")
    queue = make_queue(url=url, deadline=2.0)
    first = queue.enqueue("default", {"big": "\xff\N{PILE OF POO}%s" * 1000})
    with JobQueue(place.url) as other:
        reservation = other.reserve(0)
        assert reservation.args == {"big": "\xff\N{PILE OF POO}%s" * 1000}
        reservation.ack()
    a_bit_of_all(queue)
    begin = time.monotonic()
    with pytest.raises(StorageError, match="no answer within deadline"):
        queue._database.read(lambda tx: tx.cursor.execute("SELECT SLEEP(20)"))
    assert time.monotonic() - begin < 10
    mine = create_engine(make_url(place.engine_url).set(drivername="mysql+mysqldb"), isolation_level="READ COMMITTED")
    with mine.begin() as connection:
        second = queue.enqueue("mine", depends_on=[first], connection=connection)
    mine.dispose()
    assert queue.status(second).depends_on == (first,)
