"""All interleavings of operations that may collide, statement by statement, on real sessions of a server.

Each operation runs in a thread and stops before every statement. A schedule says whose
statement comes next; all schedules are run, found by going through the tree of choices depth first.
A statement that waits for a lock (the server knows) is left waiting while others go on.
On MySQL, where an operation takes 10-20 statements, some schedules are drawn by lot.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg
import pymysql
import pytest
from sqlalchemy import text

from kombu_depqueue import Canceled, Empty, JobMessage, JobQueue, JobState, LeaseLost, NotExist, inserting, limits
from kombu_depqueue.dialects.lean import LeanCursor
from kombu_depqueue.testing.fixtures import MakeQueue

_local = threading.local()
_EXECUTE = {kind: kind.execute for kind in (psycopg.Cursor, LeanCursor, pymysql.cursors.Cursor)}
PATIENCE = 20.0
DRAWN = 10
"""So many schedules where they are drawn by lot."""


def _execute(cursor: Any, *args: Any, **kwargs: Any) -> Any:
    return _EXECUTE[type(cursor)](cursor, *args, **kwargs)


def _gated(cursor: Any, *args: Any, **kwargs: Any) -> Any:
    actor = getattr(_local, "actor", None)
    if actor is None:
        return _execute(cursor, *args, **kwargs)
    return actor.statement(cursor, args, kwargs)


class Actor:
    """One operation in a thread of its own, stopped before each statement."""

    def __init__(self, operation: Callable[[], Any]) -> None:
        self.outcome: Any = None
        self.pid: int | None = None
        self.is_mysql = False
        self.busy = False
        self.over = False
        self._go = threading.Event()
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(operation,), daemon=True)
        self._thread.start()
        self.settle(lambda pid: False)

    def _run(self, operation: Callable[[], Any]) -> None:
        _local.actor = self
        try:
            self.outcome = operation()
        except Exception as error:
            self.outcome = error
        self.over = True
        self._changed.set()

    def statement(self, cursor: Any, args: Any, kwargs: Any) -> Any:
        self._changed.set()
        assert self._go.wait(PATIENCE)
        self._go.clear()
        connection = cursor.connection
        self.is_mysql = hasattr(connection, "thread_id")
        self.pid = connection.thread_id() if self.is_mysql else connection.info.backend_pid
        return _execute(cursor, *args, **kwargs)

    def step(self) -> None:
        """Let the next statement begin."""
        self._changed.clear()
        self._go.set()

    def settle(self, is_blocked: Callable[[int], bool]) -> bool:
        """Wait until it stands before its next statement, or is over (True), or waits for a lock (False)."""
        until = time.monotonic() + PATIENCE
        # MariaDB and MySQL show for a tenth of a second what they showed before.
        pause = 0.11 if self.is_mysql else 0.003
        while not self._changed.wait(pause):
            if self.pid is not None and is_blocked(self.pid):
                return False
            assert time.monotonic() < until, "an operation hangs"
        return True

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert self.over


class Stepper:
    """Runs operations along one schedule and records where it might have gone otherwise."""

    def __init__(self, engine: Any, schedule: list[int]) -> None:
        self._engine = engine
        self._schedule = schedule
        self.taken: list[tuple[int, int]] = []
        """The choice made, and how many there were."""

    def _is_blocked(self, pid: int) -> bool:
        query = text("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = :pid")
        if self._engine.dialect.name == "mysql":
            query = text(
                "SELECT trx_state = 'LOCK WAIT' FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = :pid"
            )
        with self._engine.connect() as connection:
            return bool(connection.execute(query, {"pid": pid}).scalar())

    def run(self, operations: list[Callable[[], Any]]) -> list[Any]:
        actors = [Actor(o) for o in operations]
        waiting: set[int] = set()
        while not all(a.over for a in actors):
            for n in list(waiting):
                if actors[n]._changed.is_set():
                    waiting.discard(n)
            able = [n for n, a in enumerate(actors) if not a.over and n not in waiting]
            if not able:  # all wait: the server will find a deadlock, or a lock is about to be given
                time.sleep(0.002)
                continue
            depth = len(self.taken)
            choice = self._schedule[depth] if depth < len(self._schedule) else 0
            choice = min(choice, len(able) - 1)
            self.taken.append((choice, len(able)))
            actor = actors[able[choice]]
            actor.step()
            if not actor.settle(self._is_blocked):
                waiting.add(able[choice])
            for n in list(waiting):  # a commit may have let others go on: they come to their next statement
                if n != able[choice]:
                    actors[n].settle(self._is_blocked)
        for actor in actors:
            actor.join()
        return [a.outcome for a in actors]


def next_schedule(taken: list[tuple[int, int]]) -> list[int] | None:
    """The next schedule, depth first; None: that was the last."""
    while taken:
        choice, among = taken.pop()
        if choice + 1 < among:
            return [c for c, _ in taken] + [choice + 1]
    return None


Case = Callable[[], tuple[list[Callable[[], Any]], Callable[[list[Any]], None]]]


def explore(engine: Any, case: Case, limit: int = 3000, drawn_by_lot: int = DRAWN) -> int:
    """Run all schedules of a case; returns how many."""
    schedule: list[int] | None = []
    count, drawn = 0, random.Random(4711)
    while schedule is not None:
        operations, check = case()
        stepper = Stepper(engine, schedule)
        outcomes = stepper.run(operations)
        try:
            check(outcomes)
        except AssertionError as error:
            order = "".join(str(choice) for choice, _ in stepper.taken)
            raise AssertionError(f"schedule {order}: outcomes {outcomes!r}") from error
        count += 1
        assert count <= limit, "more interleavings than expected"
        if engine.dialect.name != "mysql":
            schedule = next_schedule(stepper.taken)
        else:  # each in long runs or in short turns
            turn = drawn.choice((1, 2, 4, 8))
            schedule = [c for _ in range(100) for c in [drawn.randrange(len(operations))] * drawn.randint(1, turn)]
            schedule = schedule if count < drawn_by_lot else None
    return count


@pytest.fixture
def sessions(make_queue: MakeQueue, database: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[JobQueue]]:
    """Three JobQueues on one database, whose transactions are sent statement by statement."""
    if database.name == "sqlite":
        pytest.skip("SQLite lets one transaction write at a time: nothing interleaves")
    monkeypatch.setattr(limits, "FRESH", 1e9)  # an enqueue takes as many statements in each schedule
    queues = [make_queue(prepared_statements=False, lease=600.0, notify=False) for _ in range(3)]
    for queue in queues:
        for name in ("x", "d"):
            queue.enqueue(name)
            queue.dequeue([name], 0).ack()
    for kind in _EXECUTE:
        monkeypatch.setattr(kind, "execute", _gated)
    yield queues


def counters(engine: Any, queue: JobQueue) -> int:
    """How many jobs are noted as blocked."""
    table = queue._database.dialect.tables.blocked
    with engine.connect() as connection:
        return int(connection.execute(table.select()).rowcount)


def check_dependent(queue: JobQueue, engine: Any, x: Any, d: Any) -> None:
    """What must be true of a dependent whatever the order was."""
    end, state = queue.status(x).state, queue.status(d).state
    if end in (JobState.SUCCEEDED, JobState.FAILED):
        assert state is JobState.READY
    elif end is JobState.CANCELED:
        assert state is JobState.CANCELED
    else:
        assert state is JobState.BLOCKED
    assert counters(engine, queue) == (1 if state is JobState.BLOCKED else 0)
    if state is JobState.READY:
        assert [r.job_id for r in queue.reserve_many(10, 0, queues=["d"])] == [d]
        queue.finish(d)
        with pytest.raises(Empty):
            queue.dequeue(["d"], 0)


def test_enqueue_with_a_dependency_and_its_finish(sessions: list[JobQueue], engine: Any) -> None:
    worker, producer, _ = sessions

    def case() -> Any:
        x = worker.enqueue("x")
        held = worker.dequeue(["x"], 0)
        message = JobMessage.new("d", depends_on=[x])

        def check(outcomes: list[Any]) -> None:
            assert outcomes[0] is None
            assert outcomes[1] == message.job_id
            check_dependent(worker, engine, x, message.job_id)

        return [held.ack, lambda: producer.enqueue(message)], check

    count = explore(engine, case)
    print(f"{count} interleavings")
    assert count >= 8


def test_enqueue_with_a_dependency_and_its_cancellation(sessions: list[JobQueue], engine: Any) -> None:
    worker, producer, _ = sessions

    def case() -> Any:
        x = worker.enqueue("x")
        message = JobMessage.new("d", depends_on=[x])

        def check(outcomes: list[Any]) -> None:
            assert outcomes == [True, message.job_id]
            check_dependent(worker, engine, x, message.job_id)

        return [lambda: worker.cancel(x), lambda: producer.enqueue(message)], check

    count = explore(engine, case)
    print(f"{count} interleavings")
    assert count >= (DRAWN if engine.dialect.name == "mysql" else 20)


def work(queue: JobQueue) -> bool:
    try:
        held = queue.dequeue(["x"], 0)
    except Empty:
        return False
    held.ack(str(queue))
    return True


def check_winner(queue: JobQueue, x: Any, outcomes: list[Any]) -> None:
    """Of the workers' outcomes and the canceler's (the last): exactly one has ended the job."""
    worked, canceled = outcomes[:-1], outcomes[-1]
    acked = worked.count(True)
    refused = sum(isinstance(o, (Canceled, LeaseLost)) for o in worked)
    assert acked + refused + worked.count(False) == len(worked)
    assert acked + refused <= 1, "handed out twice"
    assert acked + (canceled is True) == 1, "exactly one of finish and cancel wins"
    assert queue.status(x).state is (JobState.SUCCEEDED if acked else JobState.CANCELED)


@pytest.mark.timeout(400)
def test_finish_claim_and_cancel(sessions: list[JobQueue], engine: Any) -> None:
    worker, other, canceler = sessions

    def case() -> Any:
        x = worker.enqueue("x")
        operations = [lambda: work(worker), lambda: work(other), lambda: canceler.cancel(x)]
        return operations, lambda outcomes: check_winner(worker, x, outcomes)

    count = explore(engine, case, drawn_by_lot=50)
    print(f"{count} interleavings")
    assert count >= 50


def test_finish_and_cancel_of_a_job_with_a_dependent(sessions: list[JobQueue], engine: Any) -> None:
    worker, canceler, _ = sessions

    def case() -> Any:
        x = worker.enqueue("x")
        d = worker.enqueue("d", depends_on=[x])

        def check(outcomes: list[Any]) -> None:
            check_winner(worker, x, outcomes)
            check_dependent(worker, engine, x, d)

        return [lambda: work(worker), lambda: canceler.cancel(x)], check

    count = explore(engine, case)
    print(f"{count} interleavings")
    assert count >= (DRAWN if engine.dialect.name == "mysql" else 20)


@pytest.mark.parametrize("end", ["ack", "fail", "cancel"])
def test_no_commit_shows_an_end_without_what_it_releases(sessions: list[JobQueue], engine: Any, end: str) -> None:
    """Whoever looks between two statements finds nothing half done: no crash there needs somebody to mend it."""
    worker, looker, _ = sessions
    t = looker._database.dialect.tables
    ended, waiting = (f"(SELECT count(*) FROM {table} WHERE job_id = '%s')" for table in (t.done, t.wait))

    def case() -> Any:
        x = worker.enqueue("x")
        held = worker.dequeue(["x"], 0)
        d = worker.enqueue("d", depends_on=[x])

        def look(tx: Any) -> Any:
            tx.cursor.execute(f"SELECT {ended % x}, {waiting % d}")
            return tx.cursor.fetchall()[0]

        def check(outcomes: list[Any]) -> None:
            assert outcomes[1] in ((0, 1), (1, 0)), "it has ended, and its dependent still waits"
            worker.cancel(d)

        finish = {"ack": held.ack, "fail": held.fail, "cancel": lambda: worker.cancel(x)}[end]
        return [finish, lambda: looker._database.read(look)], check

    count = explore(engine, case)
    print(f"{count} interleavings")
    assert count >= 4


def test_without_the_lock_dependents_are_stranded(
    sessions: list[JobQueue], engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests above can fail: the lock on the dependency is what they stand on."""
    worker, producer, _ = sessions

    def look_only(tx: Any, dialect: Any, entries: Any) -> dict[Any, int]:
        wanted = [dep for e in entries for dep, _ in e.edges]
        live = {i: inserting.LIVE for (i,) in tx.all(dialect.sql.live_ids, ids=wanted)}
        ended = {i: status for i, status, _, _ in tx.all(dialect.sql.ended_among, ids=wanted)}
        if not live and not ended:
            raise NotExist(*wanted)
        return live | ended

    monkeypatch.setattr(inserting, "_lock_dependencies", look_only)
    stranded = 0

    def case() -> Any:
        x = worker.enqueue("x")
        held = worker.dequeue(["x"], 0)
        message = JobMessage.new("d", depends_on=[x])

        def check(outcomes: list[Any]) -> None:
            nonlocal stranded
            stranded += worker.status(message.job_id).state is JobState.BLOCKED
            worker.cancel(message.job_id)

        return [held.ack, lambda: producer.enqueue(message)], check

    count = explore(engine, case)
    print(f"{stranded} of {count} interleavings strand the dependent")
    assert stranded > 0


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("result", [None, {"a": 1}])
def test_an_ack_that_meets_an_update_of_its_row(
    sessions: list[JobQueue], engine: Any, several: bool, result: Any
) -> None:
    """Somebody is just flagging the job: the ack waits for it, and finds the row at another place in its page."""
    queue, other = sessions[:2]
    job = queue.enqueue("first")
    queue.enqueue("first")
    other.enqueue("second", depends_on=[job])
    reservations = queue.reserve_many(2, 0, queues=["first"])
    schema = queue.settings.schema
    done: list[Any] = []
    with psycopg.connect(queue.settings.url.set(drivername="postgresql", query={}).render_as_string(False)) as flagging:
        flagging.execute(f"UPDATE {schema}.job SET flags = flags | 16 WHERE job_id = %s", [job])
        ack = (
            partial(queue.ack_many, reservations)
            if several and result is None
            else partial(reservations[0].ack, result)
        )
        thread = threading.Thread(target=lambda: done.append(ack()))
        thread.start()
        time.sleep(0.3)
        assert not done
    thread.join(10)
    assert done in ([None], [[]])
    assert queue.status(job).state is JobState.SUCCEEDED
    assert other.reserve(5, queues=["second"]).depends_on == (job,)
