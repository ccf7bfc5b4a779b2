"""What a case of the sweep is: an operation, what it needs, and what must come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Engine, select

from kombu_depqueue import JobMessage, JobState
from kombu_depqueue.messages import MessageQueue

__all__ = ["Case", "Subject", "all_are", "check_tables", "empty_tables", "is_in", "message", "native", "same"]


@dataclass(eq=False)
class Subject:
    """A connection of Kombu's, and the JobQueue behind it: both doors, and one set of connections to break."""

    connection: Any
    channels: list[Any] = field(default_factory=list)
    others: list[Any] = field(default_factory=list)
    """What else is to be closed."""
    numbers: int = 0
    open_another: Callable[[], Subject] | None = None
    theirs: Engine | None = None
    """An application's own, whose statements go through the breaker as well."""

    @property
    def queue(self) -> MessageQueue:
        return self.connection.transport.queue  # type: ignore[no-any-return]

    def channel(self) -> Any:
        """A new channel: one that remembers nothing."""
        self.channels.append(self.connection.channel())
        return self.channels[-1]

    def name(self) -> str:
        """A name that was not used before."""
        self.numbers += 1
        return f"k{self.numbers}"

    def rows(self, statement: Any) -> list[Any]:
        with self.queue._database.dialect.engine.connect() as connection:
            return list(connection.execute(statement).all())


@dataclass(frozen=True)
class Case:
    """An operation: `prepare` what it needs, then `run`; `check` what came of it."""

    prepare: Callable[[Subject], Any]
    run: Callable[[Subject, Any], Any]
    check: Callable[[Subject, Any, Any], object]
    in_parts: bool = False
    """It is several transactions: if the caller is told of a failure, some of them may have taken place."""
    reported: bool = False
    """The library does not try again: whatever happens is told."""


def native(prepare: Any, run: Any, check: Any, **more: Any) -> Case:
    """A case that looks at the JobQueue only."""
    return Case(
        lambda s: prepare(s.queue),
        lambda s, given: run(s.queue, given),
        lambda s, given, result: check(s.queue, given, result),
        **more,
    )


# -- what cases are made of -----------------------------------------------------


def message(job_type: str = "t", **fields: Any) -> JobMessage:
    """A job with an id given by the caller."""
    return JobMessage(uuid4(), job_type=job_type, **fields)


def same(found: Any, expected: Any) -> None:
    assert found == expected


def is_in(state: JobState, **more: Any) -> Callable[[Any, Any, Any], None]:
    """Check the state of the one job that `prepare` returned (id, message or reservation)."""

    def check(queue: Any, given: Any, result: Any) -> None:
        status = queue.status(given if isinstance(given, UUID) else given.job_id)
        assert status.state is state
        for name, value in more.items():
            assert getattr(status, name) == value

    return check


def all_are(state: JobState) -> Callable[[Any, Sequence[Any], Any], None]:
    def check(queue: Any, given: Any, result: Any) -> None:
        assert {queue.status(one.job_id).state for one in given[:10]} == {state}

    return check


# -- between two runs -----------------------------------------------------------


def check_tables(s: Subject) -> None:
    """Each job is in one table, once; counters are true; nothing is left over."""
    t = s.queue._database.dialect.tables
    ids = Counter(i for table in (t.job, t.wait, t.done) for (i,) in s.rows(select(table.c.job_id)) if i is not None)
    assert set(ids.values()) <= {1}, "a job is in two tables"
    assert not s.rows(select(t.release)), "dependents were not told"
    blocked = {i for (i,) in s.rows(select(t.wait.c.job_id).where(t.wait.c.due_at.is_(None)))}
    ends = dict(map(tuple, s.rows(select(t.done.c.job_id, t.done.c.status))))
    edges = s.rows(select(t.dep.c.job_id, t.dep.c.dep_id, t.dep.c.policy, t.dep.c.met))
    waits = ((i, d not in ends or not mask >> ends[d] & 1) for i, d, mask, met in edges if not met and i in blocked)
    unmet = Counter(i for i, waits in waits if waits)
    assert dict(map(tuple, s.rows(select(t.blocked)))) == dict(unmet), "a counter is not true"
    assert {i for (i,) in s.rows(select(t.dep.c.job_id))} <= set(ids), "an edge of a job that is not there"
    assert {i for (i,) in s.rows(select(t.ended_body.c.job_id))} <= set(ids), "a payload of a job that is not there"
    consumed = dict(Counter(c.number for ch in s.channels if not ch.closed for c in ch._consumers.values()))
    assert dict(map(tuple, s.rows(select(t.subscription.c.queue_id, t.subscription.c.count)))) == consumed


def empty_tables(s: Subject) -> None:
    """Begin again: no jobs, no consumers but ours, nothing declared, no limits."""
    for one in [*s.channels, *s.others]:
        one.close()
    transport = s.connection.transport
    if transport._deliveries is not None:
        transport._deliveries.close()
        transport._deliveries = None
    s.channels.clear()
    s.others.clear()
    queue, t = s.queue, s.queue._database.dialect.tables
    with queue._database.dialect.engine.connect() as connection:
        for table in (t.job, t.wait, t.done, t.dep, t.blocked, t.release, t.ended_body, t.memo, t.subscription):
            connection.execute(table.delete())
        connection.execute(t.binding.delete())
        connection.execute(t.exchange.delete())
        connection.execute(t.consumer.delete().where(t.consumer.c.id != queue._keeper.consumer))
        connection.execute(t.queue.update().values(paused=False, arguments=None))
        connection.commit()
    queue._keeper.held.clear()
    queue._keeper.alone.clear()
    queue._keeper._lost.clear()
    queue._limits._known, queue._limits._free = {}, {}
    queue._limits._until = 1e18  # they are looked up when the case says so, else by the clock
