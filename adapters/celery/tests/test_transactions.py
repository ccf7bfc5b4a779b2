"""Tasks that commit together with the rows they are about."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from adapter_helpers import plain_url
from celery import chain, chord, group, states
from sqlalchemy.orm import Session
from transport_workers import Bench

from kombu_depqueue import InvalidJob, JobState, LeaseLost
from kombu_depqueue.extending import text_id
from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue_celery import after, enlist, finish


class Book:
    """The application's own table, in the broker's database."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.name = f"book_{uuid4().hex[:12]}"
        with engine.begin() as connection:
            connection.execute(sa.text(f"CREATE TABLE {self.name} (label VARCHAR(100))"))

    def insert(self, connection: Any, label: str) -> None:
        connection.execute(sa.text(f"INSERT INTO {self.name} (label) VALUES (:label)"), {"label": label})

    def labels(self) -> list[str]:
        with self.engine.connect() as connection:
            return [label for (label,) in connection.execute(sa.text(f"SELECT label FROM {self.name}"))]


def book_of(url: str) -> Iterator[Book]:
    options = {"isolation_level": "READ COMMITTED"} if plain_url(url).startswith("mysql") else {}
    engine = sa.create_engine(plain_url(url), **options)
    book = Book(engine)
    yield book
    with engine.begin() as connection:
        connection.execute(sa.text(f"DROP TABLE {book.name}"))
    engine.dispose()


@pytest.fixture
def book(bench: Bench) -> Iterator[Book]:
    yield from book_of(bench.url)


@pytest.fixture
def pooled_book(pooled: Bench) -> Iterator[Book]:
    yield from book_of(pooled.url)


def counts(bench: Bench) -> tuple[int, int, int]:
    """Ready, scheduled and blocked tasks."""
    found = [(q.ready, q.scheduled, q.blocked) for q in bench.native_queue.queues() if q.name == "celery"]
    return found[0] if found else (0, 0, 0)


def send_everything(bench: Bench) -> None:
    """A task, one that waits for it, a delayed one, a group, a chain and a chord."""
    s, app = bench.signature, bench.app
    first = bench.send("add", 1, 1)
    after(first)(s("add", 1, 2)).delay()
    bench.send("add", 1, 3, countdown=60)
    group([s("add", n, n) for n in range(3)], app=app)()
    chain(s("add", 1, 1), s("add", 1), app=app)()
    chord([s("add", n, n) for n in range(2)], s("collect"), app=app)()


EVERYTHING = (1 + 3 + 1 + 2, 1, 1 + 1)


# enlist


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("kind", ["session", "connection"])
def test_canvases_are_part_of_the_transaction(bench: Bench, book: Book, kind: str, commit: bool) -> None:
    bench.send("add", 0, 0)  # the queue is there
    opened = Session(book.engine) if kind == "session" else book.engine.connect()
    with opened as transaction:
        with enlist(transaction):
            book.insert(transaction, "order")
            send_everything(bench)
        if bench.native_queue.settings.url.get_backend_name() != "sqlite":
            assert counts(bench) == (1, 0, 0)
        if commit:
            transaction.commit()
        else:
            transaction.rollback()
    ready, scheduled, blocked = EVERYTHING if commit else (0, 0, 0)
    assert counts(bench) == (1 + ready, scheduled, blocked)
    assert book.labels() == (["order"] if commit else [])


def test_the_first_that_is_ever_sent(bench: Bench, book: Book) -> None:
    """While the caller's transaction holds SQLite's only write lock, and is then rolled back."""
    bench.native_queue.queues()  # the tables are there, and no queue was ever declared
    for end in ("rollback", "commit"):
        with Session(book.engine) as session, enlist(session):
            book.insert(session, end)
            began = time.monotonic()
            bench.send("work", end)
            chord([bench.signature("add", 1, 1)], bench.signature("collect"), app=bench.app)()
            assert time.monotonic() - began < 5
            getattr(session, end)()
    assert book.labels() == ["commit"]
    assert counts(bench) == (2, 0, 1)
    bench.send("work", "afterwards")
    assert counts(bench) == (3, 0, 1)


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("kind", ["session", "connection"])
def test_async_sessions(bench: Bench, book: Book, kind: str, commit: bool) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    url = sa.make_url(plain_url(bench.url))
    if url.get_backend_name() == "mysql":
        pytest.skip("no asynchronous driver of MySQL is supported")
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql+psycopg": "postgresql+psycopg_async"}[url.drivername]
    bench.send("add", 0, 0)

    async def main() -> None:
        engine = create_async_engine(url.set(drivername=driver))
        try:
            async with AsyncSession(engine) if kind == "session" else engine.connect() as transaction:
                async with enlist(transaction):
                    await transaction.execute(sa.text(f"INSERT INTO {book.name} VALUES ('async')"))
                    send_everything(bench)
                await (transaction.commit() if commit else transaction.rollback())
        finally:
            await engine.dispose()

    asyncio.run(main())
    ready, scheduled, blocked = EVERYTHING if commit else (0, 0, 0)
    assert counts(bench) == (1 + ready, scheduled, blocked)
    assert book.labels() == (["async"] if commit else [])


def test_an_error_in_an_async_block_sends_nothing(bench: Bench) -> None:
    class Transaction:
        async def run_sync(self, call: Any) -> None:
            raise AssertionError("nothing is to be inserted")

    async def main() -> None:
        async with enlist(Transaction()):
            bench.send("add", 1, 1)
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        asyncio.run(main())
    assert counts(bench) == (0, 0, 0)


def test_what_cannot_be_enlisted(bench: Bench, tmp_path: Any) -> None:
    for wrong in (None, "session", object()):
        if wrong is None:
            continue
        with pytest.raises(InvalidJob, match="connection"), enlist(wrong):
            bench.send("add", 1, 1)
    other = sa.create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    if bench.native_queue.settings.url.get_backend_name() != "sqlite":
        with other.connect() as connection, pytest.raises(InvalidJob, match="sqlite"), enlist(connection):
            bench.send("add", 1, 1)
    other.dispose()


def test_consumers_are_woken_by_the_commit(bench: Bench, book: Book) -> None:
    """Not by the next look, up to a second later."""
    queue, waits = bench.native_queue, []
    for _ in range(3):
        got: list[float] = []
        thread = threading.Thread(
            target=lambda got=got: (queue.reserve(10, queues=["celery"]).ack(), got.append(time.monotonic()))
        )
        with Session(book.engine) as session:
            thread.start()
            time.sleep(0.3)
            with enlist(session):
                bench.send("add", 1, 1)
            time.sleep(0.2)
            session.commit()
            committed = time.monotonic()
        thread.join()
        waits.append(got[0] - committed)
    assert sorted(waits)[1] < 0.3, waits


# finish


def test_write_outcome_and_release_are_one_commit(pooled: Bench, pooled_book: Book) -> None:
    task = pooled.send("booked", pooled_book.name, "a")
    second = pooled.send("work", "after", depends_on=[task])
    assert second.get(timeout=30)
    assert task.get(timeout=5) == "booked a"
    assert pooled_book.labels() == ["a"]
    time.sleep(0.2)
    assert len(pooled.facts("start", id=task.id)) == 1
    assert pooled.native_queue.status(text_id(task.id)).state is JobState.SUCCEEDED


def test_a_rollback_undoes_the_outcome(pooled: Bench, pooled_book: Book) -> None:
    task = pooled.send("booked", pooled_book.name, "a", "rollback")
    with pytest.raises(RuntimeError):
        task.get(timeout=30)
    assert pooled_book.labels() == []
    assert pooled.native_queue.status(text_id(task.id)).state is JobState.FAILED


def test_what_happens_after_the_commit_changes_nothing(pooled: Bench, pooled_book: Book) -> None:
    task = pooled.send("booked", pooled_book.name, "a", "raise")
    assert task.get(timeout=30) == "booked a"
    time.sleep(0.3)
    assert task.state == states.SUCCESS
    assert pooled.native_queue.status(text_id(task.id)).state is JobState.SUCCEEDED


def test_a_crash_after_the_commit_does_not_run_it_again(bench: Bench, book: Book) -> None:
    bench.broker += "&lease=2"
    first = bench.worker("-c", "1", pool="threads", name="first").ready()
    task = bench.send("booked", book.name, "a", "die")
    second = bench.send("work", "after", depends_on=[task])
    first.process.wait(30)
    bench.worker("-c", "1", pool="threads", name="second").ready()
    assert second.get(timeout=30)
    time.sleep(3)
    assert book.labels() == ["a"]
    assert len(bench.facts("start", id=task.id)) == 1


def test_a_zombie_writes_nothing(bench: Bench, book: Book) -> None:
    """A worker that was frozen for longer than its lease finds its task given to another when it commits."""
    if bench.native_queue.settings.url.get_backend_name() == "sqlite":
        pytest.skip("a frozen writer would hold SQLite's only write lock")
    bench.broker += "&lease=2"
    first = bench.worker("-c", "1", pool="threads", name="first").ready()
    task = bench.send("booked", book.name, "a", "wait")
    bench.facts.wait("start", id=task.id)
    os.kill(first.pid, signal.SIGSTOP)
    queue = bench.native_queue
    wait_until(lambda: queue.maintain() or queue.status(text_id(task.id)).state is JobState.READY, timeout=15)
    other = queue.dequeue_by_id(text_id(task.id))
    os.kill(first.pid, signal.SIGCONT)
    wait_until(lambda: "LeaseLost" in first.said(20_000), timeout=20)
    assert book.labels() == []
    assert queue.status(text_id(task.id)).state is JobState.LEASED
    other.ack("of the other")
    assert task.get(timeout=5) == "of the other"


def test_finish_where_there_is_nothing_to_finish(bench: Bench, book: Book) -> None:
    from celery.app.task import Context

    with book.engine.begin() as connection:
        with pytest.raises(InvalidJob, match="broker"):
            finish(Context(id="x"), connection)
        stale = Context(id=str(uuid4()), properties={"delivery_info": {"lease_token": "1-ff-1-0000000000000001"}})
        bench.app.set_current()
        with pytest.raises(LeaseLost):
            finish(stale, connection)
