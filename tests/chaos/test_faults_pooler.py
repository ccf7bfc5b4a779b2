"""A pooler in transaction mode: everything works, nothing depends on a session, and none is left changed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from faults.needs import had
from faults.pooler import Pooler, PoolerRestarted, ServersSwapped, pooler
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from kombu_depqueue import JobMessage, JobQueue, JobState, enlist
from kombu_depqueue.testing.fixtures import Place
from kombu_depqueue.testing.helpers import drain, wait_until

pytestmark = pytest.mark.only("postgresql")

KINDS = {
    "told": ("", {"prepared_statements": False}),
    "refuses options": ("", {}),
    "swallows options": ("options,extra_float_digits", {}),
}
"""How we come to know of it: what it ignores, and what we are told."""


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def behind(place: Place, opened: ExitStack) -> Callable[..., Pooler]:
    """Start a pooler; it ends after the queues that go through it."""
    return lambda **options: opened.enter_context(had(pooler(place.url, **options)))


@pytest.fixture
def make(opened: ExitStack) -> Callable[..., JobQueue]:
    return lambda url, **options: opened.enter_context(JobQueue(url, poll_interval=0.1, **options))


def a_bit_of_all(queue: JobQueue, engine: Any) -> None:
    first = queue.enqueue("t", {"n": 1})
    then = queue.enqueue("t", depends_on=[first], delay=0.1)
    queue.enqueue_many([JobMessage.new("many", n) for n in range(700)])
    held = queue.reserve(5, queues=["t"])
    held.extend(60.0)
    held.ack({"x": 1})
    after = queue.reserve(10, queues=["t"])
    assert (held.job_id, after.job_id) == (first, then)
    assert [r.result for r in after.results_of_dependencies()] == [{"x": 1}]
    after.requeue(0.0)
    queue.finish(queue.reserve(5, queues=["t"]).job_id, 2)
    some = queue.reserve_many(100, 5, queues=["many"])
    assert queue.ack_many(some) == []
    assert queue.purge("many") == 600
    with engine.begin() as connection, enlist(connection):
        mine = queue.enqueue("mine")
    assert drain(queue, ["mine"]) == [mine]
    queue.pause("t")
    queue.resume("t")
    queue.limit("t", max_length=10)
    queue.cancel(queue.enqueue("t"))
    queue.register_worker("w")
    queue.maintain()
    assert queue.status(then).state is JobState.SUCCEEDED
    assert queue.queues()


def traces(url: str) -> dict[str, list[Any]]:
    """What a session of the server keeps of those who had it: asked through the pooler, so that it is one of its own."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"prepare_threshold": None})
    queries = {
        "settings": "SELECT name FROM pg_settings WHERE source = 'session' AND name NOT IN ('client_encoding', "
        "'DateStyle', 'TimeZone', 'IntervalStyle', 'standard_conforming_strings', 'application_name')",
        "locks": "SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        "statements": "SELECT statement FROM pg_prepared_statements WHERE statement NOT LIKE '%pg_prepared%'",
        "channels": "SELECT pg_listening_channels()",
        "tables": "SELECT relname FROM pg_class WHERE pg_my_temp_schema() <> 0 AND relnamespace = pg_my_temp_schema()",
    }
    with engine.begin() as connection:
        return {name: list(connection.execute(text(query)).scalars()) for name, query in queries.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_everything_works_and_no_session_keeps_a_trace(
    kind: str, behind: Callable[..., Pooler], make: Callable[..., JobQueue]
) -> None:
    ignored, options = KINDS[kind]
    made = behind(ignored=ignored, sessions=1)  # one session: whatever is left in it is found
    queue = make(made.clients_url, create=True, lease=20.0, deadline=10.0, **options)
    mine = make_url(made.url).set(query={"sslmode": "disable"})
    engine = create_engine(mine, poolclass=NullPool, connect_args={"prepare_threshold": None})
    a_bit_of_all(queue, engine)
    assert queue._database.dialect.pooled
    assert "pooler" in {one.code for one in queue.examine().findings}
    assert traces(made.url) == {name: [] for name in traces(made.url)}


def test_a_pooler_gives_each_transaction_another_session(behind: Callable[..., Pooler]) -> None:
    """So the tests above are about something: what one client sets another has."""
    made = behind(sessions=1)
    one = create_engine(made.url, poolclass=NullPool, connect_args={"prepare_threshold": None})
    with one.connect().execution_options(isolation_level="AUTOCOMMIT") as mine:
        mine.execute(text("SET lock_timeout = '4711ms'"))
        mine.execute(text("SELECT pg_advisory_lock(4711)"))
        assert traces(made.url)["settings"] == ["lock_timeout"]
        assert traces(made.url)["locks"] == [4711]
        mine.execute(text("SELECT pg_advisory_unlock_all()"))
    with pytest.raises(SQLAlchemyError, match="unsupported startup parameter"):
        create_engine(made.url, poolclass=NullPool, connect_args={"options": "-c jit=off"}).connect()


def test_who_waits_behind_a_pooler_looks_by_itself(
    place: Place, behind: Callable[..., Pooler], make: Callable[..., JobQueue]
) -> None:
    made = behind()
    waiting = make(made.clients_url, create=True, prepared_statements=False)
    producer = make(place.url)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append((waiting.reserve(20, queues=["t"]), time.monotonic())))
    thread.start()
    time.sleep(0.5)
    job_id, begin = producer.enqueue("t"), time.monotonic()
    thread.join(20)
    (reservation, at) = found[0]
    assert reservation.job_id == job_id
    assert at - begin < 3.0
    assert traces(made.url)["channels"] == []
    reservation.ack()


def test_a_pooler_that_is_restarted_or_takes_other_sessions_loses_no_job(
    behind: Callable[..., Pooler], make: Callable[..., JobQueue], seed: int, full: bool
) -> None:
    chance = random.Random(seed)
    made = behind()
    queue = make(made.clients_url, create=True, prepared_statements=False, deadline=20.0)
    faults = [PoolerRestarted(made), ServersSwapped(made)]
    wanted, done = [], threading.Event()

    def produce() -> None:
        while not done.is_set():
            wanted.append(queue.enqueue("t"))

    thread = threading.Thread(target=produce)
    thread.start()
    for fault in faults * (10 if full else 2):
        fault.inject(chance)
        before_it = len(wanted)
        wait_until(lambda before_it=before_it: len(wanted) > before_it + 3)
    done.set()
    thread.join(30)
    assert set(drain(queue, ["t"])) >= set(wanted)
