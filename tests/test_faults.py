"""What the database can do to us: be gone, be frozen, be something else, hold garbage."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import socket
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, delete, make_url, select, text, update
from sqlalchemy.pool import PoolProxiedConnection

from kombu_depqueue import (
    Canceled,
    DepQueueError,
    Empty,
    InvalidJob,
    JobMessage,
    JobQueue,
    JobState,
    Reservation,
    SchemaError,
    StorageError,
    cursor,
)
from kombu_depqueue.dialects import Tx
from kombu_depqueue.testing.fixtures import MakeQueue, Place, RunProcess
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, failing_once, in_threads, wait_until
from kombu_depqueue.testing.sessions import Sessions
from kombu_depqueue.versions import LIBRARIES, VERSION, WORKS_WITH, libraries

SLACK = 3.0
"""Seconds beyond a deadline that a loaded machine may take."""
READY, LEASED = JobState.READY, JobState.LEASED


# -- sessions that are killed -----------------------------------------------------


def enqueue_some(queue: JobQueue, ids: list[UUID]) -> None:
    for number, job_id in enumerate(ids):
        if number % 5:
            queue.enqueue("t", number, job_id=job_id)
        else:
            queue.enqueue_many([JobMessage(job_id, job_type="t"), JobMessage.new("other")])


@pytest.mark.only("postgresql", "mysql")
@pytest.mark.slow
def test_each_job_is_there_once_though_connections_are_cut_all_the_time(
    sessions: Sessions, make_queue: MakeQueue
) -> None:
    """Producers give the ids; consumers ack; every few hundredths of a second all sessions are killed."""
    queue = make_queue(url=sessions.url, deadline=30)
    ids = [[uuid4() for _ in range(60)] for _ in range(3)]
    wanted, delivered = {i for some in ids for i in some}, set()
    stop = threading.Event()

    def consume() -> None:
        while not stop.is_set():
            with suppress(Empty):
                for reservation in queue.reserve_many(5, 0.2, queues=["t"]):
                    reservation.ack(str(reservation.job_id))
                    delivered.add(reservation.job_id)

    def kill() -> None:
        while not stop.wait(0.05):
            sessions.kill_all()

    def produce(some: list[UUID]) -> Callable[[], None]:
        return lambda: enqueue_some(queue, some)

    helpers = [threading.Thread(target=consume) for _ in range(2)] + [threading.Thread(target=kill)]
    for thread in helpers:
        thread.start()
    try:
        assert in_threads([produce(some) for some in ids], timeout=90) == [None] * 3
        wait_until(lambda: delivered >= wanted, timeout=60)
    finally:
        stop.set()
        for thread in helpers:
            thread.join()
    assert sessions.killed > 20
    assert delivered == wanted
    assert {queue.status(i).result for i in wanted} == {str(i) for i in wanted}
    assert_nothing_ready(queue, queues=["t"])
    assert len(drain(queue, ["other"])) == sum(len(range(0, len(some), 5)) for some in ids)


@pytest.mark.only("postgresql", "mysql")
def test_restart_of_the_server_costs_no_long_wait_however_many_connections_were_open(
    sessions: Sessions, make_queue: MakeQueue
) -> None:
    queue = make_queue(url=sessions.url, notify=False)
    barrier = threading.Barrier(12)

    def use() -> None:
        with queue._database.dialect.engine.connect():
            barrier.wait()

    in_threads([use] * 12)
    assert len(sessions.pids()) >= 12
    sessions.kill_all()
    wait_until(lambda: not sessions.pids())
    started = time.monotonic()
    queue.enqueue("t")
    assert time.monotonic() - started < 2.0


@pytest.mark.only("postgresql")
def test_a_record_that_is_locked_for_long_keeps_no_others(make_queue: MakeQueue, engine: Engine) -> None:
    """By a transaction that enqueues a job on it, say, and stays open."""
    queue = make_queue(retention=0.01)
    queue.enqueue_many([JobMessage.new("default", n) for n in range(20)])
    queue.ack_many(queue.reserve_many(20, 0))
    wait_until(lambda: queue.prunable() == 20)
    done = queue._database.dialect.tables.done
    with engine.begin() as other:
        first = select(done.c.job_id).order_by(done.c.keep_until, done.c.job_id).limit(1)
        locked = other.execute(first.with_for_update()).scalar_one()
        assert queue._store.prune() == 0
        assert queue._store.prune() == 19
        assert queue.status(locked).state is JobState.SUCCEEDED
    assert queue._store.prune() == 1


@pytest.mark.parametrize("how", ["ack", "fail", "requeue", "ack_many"])
def test_settling_that_failed_halfway_gets_an_answer_when_it_is_asked_again(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The job is not held any more, and the database is away when it is asked why."""
    job_id = queue.enqueue("default")
    reservation = queue.reserve(0)
    queue.cancel(job_id)
    monkeypatch.setattr(queue._records, "status", failing_once(queue._records.status))
    monkeypatch.setattr(queue._store, "state_of", failing_once(queue._store.state_of))
    settle: dict[str, Callable[[], object]] = {
        "ack": reservation.ack,
        "fail": reservation.fail,
        "requeue": reservation.requeue,
        "ack_many": lambda: queue.ack_many([reservation]),
    }
    tries = 0
    for _ in range(4):
        try:
            told = settle[how]()
        except StorageError:
            tries += 1
        except Canceled:
            break
        else:
            assert told == [reservation]
            break
    else:
        pytest.fail("it was never told that the job is canceled")
    assert tries >= 1


def test_a_lease_that_is_lost_before_it_stands_by_itself_is_no_reservation(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stopped right after its claim is taken for dead meanwhile."""
    queue, other = make_queue(), make_queue()
    queue.enqueue_many([JobMessage.new("default") for _ in range(3)])
    claim, stolen = queue._keeper.claim, []

    def stopped(*args: object, **options: object) -> object:
        claimed = claim(*args, **options)  # type: ignore[arg-type]
        if claimed and not stolen:
            queue._store.leave([queue._keeper.consumer])
            queue._keeper.registered = False
            stolen.extend(other.reserve_many(2, 0))
        return claimed

    monkeypatch.setattr(queue._keeper, "claim", stopped)
    found = queue.reserve_many(2, 0, renew=False)
    assert len(stolen) == 2
    assert {r.job_id for r in found}.isdisjoint(r.job_id for r in stolen)
    assert [r.token for r in found] == queue.heartbeats(0)[-1:]
    assert other.ack_many(stolen) == []


@pytest.mark.parametrize("error", [DepQueueError("the tables are missing"), RuntimeError("a bug")])
def test_a_renewal_that_fails_at_once_is_tried_again_soon_and_no_sooner(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The tables are gone, say: whoever renews leases must not ask for them thousands of times a second."""
    queue = make_queue(lease=0.3)
    queue.enqueue("default")
    queue.reserve(0)
    tries: list[float] = []

    def fails(*args: object) -> bool:
        tries.append(time.monotonic())
        raise error

    monkeypatch.setattr(queue._store, "beat", fails)
    wait_until(lambda: len(tries) >= 3)
    assert min(later - earlier for earlier, later in itertools.pairwise(tries)) >= 0.4


@pytest.mark.parametrize("error", [DepQueueError("so"), RuntimeError("a bug")])
def test_leases_are_renewed_though_all_other_upkeep_fails(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    queue = make_queue(lease=1.5)
    queue.enqueue("default")
    held = queue.reserve(0)
    monkeypatch.setattr(queue._keeper._upkeep, "round", failing_always(error))
    renewals, until = queue._keeper.renewals, time.monotonic() + 3.0
    while time.monotonic() < until:
        queue._keeper.stir()  # others enqueue
        time.sleep(0.1)
    assert queue._keeper.renewals - renewals >= 3
    held.ack()


def failing_always(error: Exception) -> Callable[..., None]:
    def fails(*args: object, **options: object) -> None:
        raise error

    return fails


# -- servers that are not there, or do not answer -----------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def within(seconds: float, call: Callable[[], object]) -> Exception:
    """The error that the call raises, in time; in a thread, since one that hangs would hang the test."""
    started = time.monotonic()
    (error,) = in_threads([call], timeout=seconds + 10)
    assert isinstance(error, DepQueueError), repr(error)
    assert time.monotonic() - started < seconds, f"{error!r} after {time.monotonic() - started:.1f} s"
    return error


def test_server_that_is_not_there_is_a_storage_error_at_once() -> None:
    pytest.importorskip("psycopg")
    with JobQueue(f"postgresql://u@127.0.0.1:{free_port()}/d", create=False, deadline=20) as queue:
        error = within(5.0, lambda: queue.enqueue("t"))
        assert isinstance(error, StorageError)
        assert not error.maybe_committed


@contextmanager
def silent_server() -> Iterator[int]:
    """Accept connections on loopback and never say a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for one in accepted:
            one.close()


@pytest.mark.parametrize("how", ["enqueue", "reserve", "status"])
def test_server_that_never_answers_is_a_storage_error_within_the_deadline(how: str) -> None:
    pytest.importorskip("psycopg")
    operations: dict[str, Callable[[JobQueue], object]] = {
        "enqueue": lambda queue: queue.enqueue("t"),
        "reserve": lambda queue: queue.reserve(0),
        "status": lambda queue: queue.status(uuid4()),
    }
    with silent_server() as port:
        queue = JobQueue(f"postgresql://u@127.0.0.1:{port}/d", create=False, deadline=2)
        assert isinstance(within(2 + SLACK, lambda: operations[how](queue)), StorageError)
        within(2 + SLACK, lambda: _closed(queue))


def _closed(queue: JobQueue) -> None:
    queue.close()
    raise DepQueueError("closed in time")


class Proxy:
    """Forwards to a server, and goes deaf and dumb when told to, or after so many bytes from the server."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._server]
        self.port = self._server.getsockname()[1]
        self.frozen = threading.Event()
        self.freeze_at: bytes | None = None
        """Go dumb when the server says this (and swallow it)."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._server.accept()[0]
                server = socket.create_connection(self._target)
                self._open += [client, server]
                for pair in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if is_answer and self.freeze_at is not None and self.freeze_at in data:
                    self.frozen.set()
                if not self.frozen.is_set():
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def proxy(place: Place) -> Iterator[Proxy]:
    url = make_url(place.engine_url)
    made = Proxy(url.host or "127.0.0.1", url.port or 5432)
    yield made
    made.close()


def through(proxy: Proxy, place: Place) -> str:
    url = make_url(place.url).set(host="127.0.0.1", port=proxy.port).update_query_dict({"sslmode": "disable"})
    return str(url.render_as_string(hide_password=False))


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("when", ["authenticated", "first answer"])
def test_server_that_freezes_while_connecting_is_a_storage_error_within_the_deadline(
    when: str, proxy: Proxy, place: Place, make_queue: MakeQueue
) -> None:
    make_queue().close()
    proxy.freeze_at = b"server_version" if when == "authenticated" else b"force_generic_plan"
    queue = make_queue(url=through(proxy, place), create=False, deadline=2)
    assert isinstance(within(2 + SLACK, lambda: queue.enqueue("t")), StorageError)
    assert proxy.frozen.is_set()


@pytest.mark.only("postgresql")
def test_server_that_freezes_is_a_storage_error_within_the_deadline(
    proxy: Proxy, place: Place, make_queue: MakeQueue
) -> None:
    queue = make_queue(url=through(proxy, place), deadline=2, notify=False)
    kept = queue.enqueue("t")
    message = JobMessage(uuid4(), job_type="t")
    proxy.frozen.set()
    error = within(2 + SLACK, lambda: queue.enqueue(message))
    assert isinstance(error, StorageError)
    proxy.frozen.clear()
    wait_until(lambda: _is_there(queue, kept))
    with suppress(DepQueueError):  # it may have been committed
        queue.enqueue(message)
    assert drain(queue, ["t"]) == [kept, message.job_id]


def _is_there(queue: JobQueue, job_id: UUID) -> bool:
    with suppress(StorageError):
        return queue.status(job_id).state is READY
    return False


@pytest.mark.only("postgresql")
def test_frozen_backend_is_a_storage_error_within_the_deadline(sessions: Sessions, make_queue: MakeQueue) -> None:
    """The server process of our own session is stopped; it goes on later, and no job is doubled."""
    queue = make_queue(url=sessions.url, deadline=2, notify=False)
    first = queue.enqueue("t")
    (pid,) = sessions.pids()
    if not _is_local_postgres(pid):
        pytest.skip("the server's processes are out of reach")
    message = JobMessage(uuid4(), job_type="t")
    os.kill(pid, signal.SIGSTOP)
    try:
        error = within(2 + SLACK, lambda: queue.enqueue(message))
        assert isinstance(error, StorageError)
        assert "2 s" in str(error)
        other = queue.enqueue("t")  # on a connection that works
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: pid not in sessions.pids())
    with suppress(DepQueueError):
        queue.enqueue(message)
    assert sorted(drain(queue, ["t"])) == sorted([first, other, message.job_id])


def _is_local_postgres(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("fails", [False, True])
def test_a_connection_in_use_while_the_queue_is_closed_is_closed_too(
    fails: bool, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any moment: just before it is given back, for instance. Else it stays open until the process ends."""
    queue = make_queue(notify=False)
    queue.queues()
    database, used = queue._database, []
    give = database._connections.give

    def close_first(fairy: PoolProxiedConnection) -> None:
        used.append(fairy.dbapi_connection)
        queue.close()
        give(fairy)

    def refuse(tx: Tx) -> None:
        used.append(tx.connection)
        queue.close()
        raise InvalidJob("so", "wanted")

    monkeypatch.setattr(database._connections, "give", close_first)
    with pytest.raises(InvalidJob) if fails else nullcontext():
        database.read(refuse if fails else lambda tx: None)
    (connection,) = used
    with pytest.raises(database.errors):
        connection.cursor().execute("SELECT 1")


# -- databases that are something else ------------------------------------------------


def test_file_that_is_no_database_is_a_storage_error(tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear database, " * 1000)
    with pytest.raises(StorageError, match="not a database"):
        JobQueue(f"sqlite:///{file}").enqueue("t")
    assert file.read_text() == "Dear database, " * 1000


def test_directory_that_is_missing_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="unable to open"):
        JobQueue(f"sqlite:///{tmp_path}/nowhere/jobs.db").enqueue("t")


@pytest.mark.bare
def test_missing_tables_are_a_schema_error_that_says_what_to_do(make_queue: MakeQueue) -> None:
    with pytest.raises(SchemaError, match="create_tables") as caught:
        make_queue(create=False).enqueue("t")
    assert (caught.value.found, caught.value.wanted) == (None, WORKS_WITH)


@pytest.mark.bare
@pytest.mark.parametrize(
    ("value", "found", "words"), [("99", 99, "newer"), ("0", 0, "older"), ("garbage", None, "damaged")]
)
def test_tables_of_another_version_are_a_schema_error(
    value: str, found: int | None, words: str, make_queue: MakeQueue, engine: Engine
) -> None:
    meta = make_queue()._database.dialect.tables.meta
    with engine.begin() as connection:
        connection.execute(update(meta).where(meta.c.key == VERSION).values(value=value))
        if found is not None:
            connection.execute(update(meta).where(meta.c.key == LIBRARIES).values(value=libraries(found)))
    for create in (True, False):
        with pytest.raises(SchemaError, match=words) as caught:
            make_queue(create=create).enqueue("t")
        assert (caught.value.found, caught.value.wanted) == (found, WORKS_WITH)


def test_tables_dropped_under_a_queue_are_a_schema_error(make_queue: MakeQueue, engine: Engine) -> None:
    queue = make_queue(create=True)
    queue.enqueue("t")
    queue._database.dialect.tables.metadata.drop_all(engine)
    with pytest.raises(SchemaError):
        queue.enqueue("t")
    queue._keeper.registered = False  # it cannot say good-bye


def test_a_table_that_is_missing_alone_is_not_taken_for_all(make_queue: MakeQueue, engine: Engine) -> None:
    queue = make_queue(create=True)
    queue.enqueue("t")
    queue._database.dialect.tables.memo.drop(engine)
    with pytest.raises(SchemaError, match="depqueue doctor"):
        queue.maintain()


# -- secrets ----------------------------------------------------------------------------

PASSWORD = "pw-8c1f-secret"
PAYLOAD = "CARD-4711-0815"


def everything_said(error: BaseException, *things: object) -> str:
    """All texts that could end in a log: of the error, what caused it, and of other objects."""
    said = "".join(traceback.format_exception(error))
    return said + "".join(f"{thing!r} {thing}" for thing in (error, error.__cause__, error.__context__, *things))


@pytest.mark.parametrize("query", ["", "?sslpassword=PW", "?password=PW", "?options=-c%20statement_timeout%3D1"])
def test_no_password_in_any_text(query: str, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("psycopg")
    caplog.set_level(logging.DEBUG)
    url = f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/d{query.replace('PW', PASSWORD)}"
    queue = JobQueue(url, create=False)
    with pytest.raises(StorageError) as caught:
        queue.enqueue("t")
    said = everything_said(caught.value, queue, queue.settings) + caplog.text
    assert PASSWORD not in said


@pytest.mark.parametrize("bad", ["postgresql//u:PW@h/d", "postgresql://u:PW@h:port/d", "oracle://u:PW@h/d", "PW"])
def test_no_password_in_the_refusal_of_a_url(bad: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        JobQueue(bad.replace("PW", PASSWORD))
    assert PASSWORD not in everything_said(caught.value)


def test_no_payload_in_any_text(make_queue: MakeQueue, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    make_queue()
    queue = make_queue(create=False)  # else its own thread may make the tables again that are dropped below
    job_id = queue.enqueue("t", {"secret": PAYLOAD}, headers={"h": PAYLOAD})
    said = ""
    for refused in (
        lambda: queue.enqueue(JobMessage(job_id, job_type="t", args=PAYLOAD)),
        lambda: queue.enqueue("t", {PAYLOAD: object()}),
        lambda: queue.enqueue("t", PAYLOAD, priority=999),
        lambda: queue.enqueue("t", PAYLOAD, depends_on=[uuid4()]),
        lambda: queue.enqueue("t", PAYLOAD, body=PAYLOAD.encode(), content_type="text/plain"),
    ):
        with pytest.raises(DepQueueError) as caught:
            refused()
        said += everything_said(caught.value)
    reservation = queue.dequeue(["t"], 0)
    said += f"{reservation!r} {reservation} {queue!r} {queue.status(job_id)!r}"
    queue._database.dialect.tables.metadata.drop_all(engine)
    with pytest.raises(DepQueueError) as caught:
        queue.enqueue("t", PAYLOAD, body=None)
    said += everything_said(caught.value) + caplog.text
    queue._keeper.registered = False
    assert PAYLOAD not in said
    assert PAYLOAD.encode().hex() not in said


@pytest.mark.only("postgresql")
def test_no_payload_in_the_refusal_of_a_constraint(make_queue: MakeQueue, engine: Engine) -> None:
    """PostgreSQL quotes the row that broke a rule ("Failing row contains ...")."""
    queue = make_queue()
    job = queue._database.dialect.tables.job.fullname
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {job} ADD CHECK (octet_length(body) < 5)"))
    for refused in (lambda: queue.enqueue("t", PAYLOAD), lambda: queue.enqueue("t", PAYLOAD, job_id=uuid4())):
        with pytest.raises(StorageError) as caught:
            refused()
        said = everything_said(caught.value)
        assert PAYLOAD not in said
        assert PAYLOAD.encode().hex()[:16] not in said


# -- garbage in the tables ----------------------------------------------------------------

DEEP = b"[" * 100_000
GARBAGE = {"utf8": b'"\xff\xfe"', "cut": b'{"a": [1, 2', "deep": DEEP, "nul": b"\0\0", "empty": b""}


@pytest.mark.parametrize("what", GARBAGE)
@pytest.mark.parametrize("column", ["body", "envelope"])
def test_garbage_in_one_row_stops_no_other(what: str, column: str, make_queue: MakeQueue, engine: Engine) -> None:
    queue = make_queue()
    ids = [queue.enqueue("t", n) for n in range(3)]
    job = queue._database.dialect.tables.job
    with engine.begin() as connection:
        connection.execute(update(job).where(job.c.job_id == ids[1]).values({column: GARBAGE[what]}))
    first, bad, last = queue.reserve_many(3, 0, queues=["t"])
    assert [first.args, last.args] == [0, 2]
    assert (bad.job_id, bad.attempt, bad.depends_on) == (ids[1], 1, ())
    for look in (lambda: bad.args, lambda: bad.message):
        with pytest.raises(InvalidJob) as caught:
            look()
        assert caught.value.field in ("args", "headers")
    bad.reject("no JSON")
    first.ack()
    last.ack()
    states = [queue.status(i).state for i in ids]
    assert states == [JobState.SUCCEEDED, JobState.FAILED, JobState.SUCCEEDED]
    assert queue.retry(ids[1]) == 1


def test_envelope_that_is_no_object_is_an_invalid_job(make_queue: MakeQueue, engine: Engine) -> None:
    queue = make_queue()
    job_id = queue.enqueue("t", 1)
    job = queue._database.dialect.tables.job
    with engine.begin() as connection:
        connection.execute(update(job).where(job.c.job_id == job_id).values(envelope=b"[1]"))
    reservation = queue.dequeue(["t"], 0)
    for look in (lambda: reservation.args, lambda: reservation.headers, lambda: reservation.content_type):
        with pytest.raises(InvalidJob):
            look()


@pytest.mark.parametrize("headers", [b"[1]", b'"text"', b"5"])
def test_headers_that_are_no_object_are_an_invalid_job(headers: bytes, make_queue: MakeQueue, engine: Engine) -> None:
    queue = make_queue()
    job_id = queue.enqueue("t", 1)
    job = queue._database.dialect.tables.job
    with engine.begin() as connection:
        envelope = b'{"headers": %s}' % headers
        connection.execute(update(job).where(job.c.job_id == job_id).values(envelope=envelope))
    reservation = queue.dequeue(["t"], 0)
    for look in (lambda: reservation.headers, lambda: reservation.message):
        with pytest.raises(InvalidJob, match="headers"):
            look()


def test_garbage_in_a_result_is_an_invalid_job(make_queue: MakeQueue, engine: Engine) -> None:
    queue = make_queue()
    dep = queue.enqueue("t")
    job_id = queue.enqueue("u", depends_on=[dep])
    queue.dequeue(["t"], 0).ack({"x": 1})
    done = queue._database.dialect.tables.done
    with engine.begin() as connection:
        connection.execute(update(done).values(result=b"{"))
    with pytest.raises(InvalidJob):
        queue.status(dep)
    reservation = queue.dequeue(["u"], 0)
    with pytest.raises(InvalidJob):
        reservation.results_of_dependencies()
    assert reservation.depends_on == (dep,)
    reservation.ack()
    assert queue.status(job_id).state is JobState.SUCCEEDED


def test_garbage_in_the_worker_registry_is_an_error_of_ours(make_queue: MakeQueue, engine: Engine) -> None:
    queue = make_queue()
    worker = queue.register_worker("w")
    consumer = queue._database.dialect.tables.consumer
    with engine.begin() as connection:
        connection.execute(update(consumer).values(info="{"))
    with pytest.raises(DepQueueError):
        queue.workers()
    queue.delete_worker(worker)


def test_row_that_vanished_is_a_lost_lease(make_queue: MakeQueue, engine: Engine) -> None:
    """Somebody deleted by hand what was reserved."""
    queue = make_queue()
    queue.enqueue("t")
    reservation = queue.dequeue(["t"], 0)
    with engine.begin() as connection:
        connection.execute(delete(queue._database.dialect.tables.job))
    with pytest.raises(DepQueueError):
        reservation.ack()
    assert reservation.settled


@pytest.mark.parametrize("at", ["claim", "status", "stand_alone"])
def test_what_was_claimed_comes_again_if_it_could_not_be_handed_out(
    at: str, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away between a claim and what has to be asked after it: nobody has seen the jobs."""
    queue = make_queue()
    queue.queues()
    owner = queue._records if at == "status" else queue._store
    if at == "claim":  # where claims are slow, they go on behind a cursor
        monkeypatch.setattr(cursor, "SLOW", 0.0)
        monkeypatch.setattr(cursor, "ROW", 1)
        queue.enqueue("t")
        queue.dequeue(["t"], 0).ack()
        monkeypatch.setattr(cursor, "SOONEST", 0.0)
        monkeypatch.setattr(cursor, "BUSY", 0)
    job_id = queue.enqueue("t")

    def reserve() -> Reservation:
        if at == "status":
            return queue.dequeue_by_id(job_id)
        return queue.reserve_many(5, 10, queues=["t"], renew=at != "stand_alone")[0]

    with monkeypatch.context() as patch:
        works = getattr(owner, at)
        fails = failing_once(works)
        # Behind the cursor there is one; the look from the head for more of them fails.
        calls = iter([works if at == "claim" else fails])
        patch.setattr(owner, at, lambda *args, **options: next(calls, fails)(*args, **options))
        with pytest.raises(StorageError, match="wanted"):
            reserve()
    again = make_queue().reserve_many(5, 10, queues=["t"]) if at != "status" else [reserve()]
    assert [(r.job_id, r.attempt) for r in again] == [(job_id, 1)]


def test_claims_that_are_lost_while_others_are_undone_are_not_forgotten(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = make_queue()._keeper
    lost, undone = keeper._lost, []

    def unclaim(consumer: int, tokens: list[int]) -> None:
        undone.append(list(tokens))
        if len(undone) == 1:
            lost.append(2)  # by a thread that had come this far when the others were taken away

    monkeypatch.setattr(keeper._store, "unclaim", unclaim)
    lost.append(1)
    for _ in range(3):
        keeper._unclaim()
    assert undone == [[1], [2]]


# -- SQLite: others that hold the lock -------------------------------------------------------

SHARE = """
import sys, time
from kombu_depqueue import JobQueue
from kombu_depqueue.testing.helpers import hear, say
queue = JobQueue(sys.argv[1], deadline=20)
name = sys.argv[2]
queue.enqueue(name)
queue.dequeue([name], 0).ack()
say("ready")
until = time.monotonic() + hear()
count = 0
while time.monotonic() < until:
    queue.enqueue(name, count)
    queue.dequeue([name], 0).ack()
    count += 1
say(count)
queue.close()
"""


@pytest.mark.only("sqlite")
@pytest.mark.slow
def test_eight_processes_share_one_file_fairly(database_url: str, run_process: RunProcess) -> None:
    processes = [run_process(SHARE, database_url, f"q{n}") for n in range(8)]
    for process in processes:
        assert process.heard(60) == "ready"
    for process in processes:
        process.tell(5.0)
    counts = sorted(process.heard(60) for process in processes)
    for process in processes:
        process.wait()
    print(f"{counts} jobs in 5 s")
    # SQLite's own way of waiting has 9 to 1 on a machine of its own. The goal of 3 to 1 is for such a machine, too
    # (`python -m benchmarks fairness`): here other tests run beside it.
    assert counts[0] * 9 >= counts[-1]


@contextmanager
def write_lock(url: str) -> Iterator[None]:
    """Hold SQLite's write lock, as another process would."""
    database = make_url(url).database
    assert database is not None
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


@pytest.mark.only("sqlite")
def test_lock_held_past_the_deadline_is_a_storage_error_and_nothing_half_done(
    database_url: str, make_queue: MakeQueue
) -> None:
    queue = make_queue(deadline=1, lease=60)
    ready = queue.enqueue("t")
    queue.enqueue("held")
    reservation = queue.dequeue(["held"], 0)
    messages = [JobMessage(uuid4(), job_type="t") for _ in range(3)]
    operations: list[Callable[[], object]] = [
        lambda: queue.enqueue_many(messages),
        reservation.ack,
        lambda: queue.cancel(ready),
        lambda: queue.dequeue(["t"], 0),
        lambda: reservation.requeue(5),
    ]
    with write_lock(database_url):
        assert queue.status(ready).state is READY  # reading goes on
        for operation in operations:
            error = within(1 + SLACK, operation)
            assert isinstance(error, StorageError)
            assert not error.maybe_committed
    assert not reservation.settled
    reservation.ack("late")
    assert queue.status(reservation.job_id).result == "late"
    assert queue.enqueue_many(messages) == 3
    assert drain(queue, ["t"]) == [ready, *(m.job_id for m in messages)]


@pytest.mark.only("sqlite")
def test_nothing_of_a_transaction_runs_before_it_has_the_lock(database_url: str, make_queue: MakeQueue) -> None:
    """Else it would read, come to write, find that another has written meanwhile, and begin again and again."""
    queue = make_queue(deadline=20)
    queue.enqueue("t")
    tries: list[int] = []

    def work(tx: Tx) -> None:
        tries.append(len(tx.all(tx_sql.claimable, p_queue=number, p_limit=1)))
        tx.run(tx_sql.set_paused, p_queue=number, p_paused=True)

    number, tx_sql = queue._store.queue_ids([("", "t")])[0], queue._database.dialect.sql
    with write_lock(database_url):
        thread = threading.Thread(target=queue._database.write, args=(work,))
        thread.start()
        time.sleep(0.2)  # a try takes a millisecond or two
        assert tries == []
    thread.join(20)
    assert tries == [1]


@pytest.mark.only("sqlite")
def test_lock_released_in_time_is_no_error(database_url: str, make_queue: MakeQueue) -> None:
    queue = make_queue(deadline=20)
    with write_lock(database_url):
        threads = [threading.Thread(target=queue.enqueue, args=("t",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: all(t.is_alive() for t in threads))
    for thread in threads:
        thread.join(20)
    assert len(drain(queue, ["t"])) == 4


# -- poolers in transaction mode ----------------------------------------------------------------


@pytest.mark.only("postgresql")
def test_everything_works_without_prepared_statements_and_session_state(
    make_queue: MakeQueue, sessions: Sessions, engine: Engine
) -> None:
    queue = make_queue(url=sessions.url, prepared_statements=False)
    first = queue.enqueue("t", {"n": 1}, priority=3)
    then = queue.enqueue("u", depends_on=[first])
    later = queue.enqueue("t", delay=60)
    assert queue.enqueue_many([JobMessage.new("t", n) for n in range(7)]) == 7
    assert queue.enqueue_many([JobMessage.new("copy", n) for n in range(600)]) == 600
    reservation = queue.dequeue(["t"], 5)
    assert reservation.job_id == first
    reservation.extend(60)
    reservation.ack({"done": True})
    follower = queue.dequeue(["u"], 5)
    assert follower.job_id == then
    assert [d.result for d in follower.results_of_dependencies()] == [{"done": True}]
    follower.fail("so")
    assert queue.retry(then) == 1
    assert queue.cancel(then)
    batch = queue.reserve_many(7, 0, queues=["t"])
    batch.pop().requeue()
    batch.pop().requeue(60)
    batch.pop().reject()
    assert queue.ack_many(batch) == []
    assert queue.why(later).state is JobState.SCHEDULED
    assert queue.purge("t") == 3
    assert queue.purge("copy") == 600
    queue.maintain()
    with pytest.raises(Canceled):
        queue.finish(later)
    for pid in sessions.pids():
        query = text("SELECT count(*) FROM pg_locks WHERE pid = :pid AND locktype = 'advisory'")
        with engine.connect() as connection:
            assert connection.execute(query, {"pid": pid}).scalar_one() == 0
    with queue._database.dialect.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one() == 0
        assert connection.execute(text("SELECT current_setting('enable_seqscan')")).scalar_one() == "on"


# -- forks ------------------------------------------------------------------------------

_FORKER = """
import os, sys, threading, time
from kombu_depqueue import JobQueue
url = sys.argv[1]
queue, stop = JobQueue(url), threading.Event()
queue.enqueue("t")

def ask():
    while not stop.is_set():
        queue.queues()

threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads:
    thread.start()
hung = 0
for n in range(150):
    child = os.fork()
    if child == 0:
        with JobQueue(url) as mine:
            mine.enqueue("child")
        os._exit(0)
    until = time.monotonic() + 20
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > until:
            os.kill(child, 9)
            os.waitpid(child, 0)
            hung += 1
            break
        time.sleep(0.001)
    if hung:
        break
stop.set()
for thread in threads:
    thread.join()
print(hung, flush=True)
print(next(q.ready for q in queue.queues() if q.name == "child"), flush=True)
queue.close()
"""


@pytest.mark.only("sqlite")
def test_no_child_inherits_a_lock_that_sqlite_held(place: Place, run_process: RunProcess) -> None:
    """Celery's prefork forks while other threads are inside SQLite, whose own locks stay held in the child."""
    parent = run_process(_FORKER, place.url)
    assert parent.heard(100) == 0
    assert parent.heard() == 150
