"""A JobQueue against a model of it: Hypothesis chooses the operations, a dict says what must come of them.

Time stands still: delays, leases and retention are long, and pass when a rule moves the times
in the tables back. The keeper's thread is off; its beat is a rule. After each step all tables, and
what `status` and `why` say of the jobs concerned, are compared with the model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RULE_MARKER, RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine
from sqlalchemy import Connection, create_engine, delete, make_url, select, update
from sqlalchemy.pool import NullPool

from kombu_depqueue import (
    Canceled,
    Dependency,
    DepQueueError,
    Duplicate,
    Empty,
    InvalidJob,
    JobMessage,
    JobQueue,
    JobState,
    LeaseLost,
    NotExist,
    NotPending,
    NotRunning,
    Policy,
    Reservation,
)
from kombu_depqueue import cursor as cursor_module
from kombu_depqueue.dialects.steps import STATUS
from kombu_depqueue.keeper import Keeper
from kombu_depqueue.schema import Flag, Tables
from kombu_depqueue.testing.fixtures import Place

LONG = 1_000_000.0
PAST = datetime(2000, 1, 1, tzinfo=UTC)
QUEUES = ("a", "b")
READY, LEASED, BLOCKED, SCHEDULED = JobState.READY, JobState.LEASED, JobState.BLOCKED, JobState.SCHEDULED
LIVE = (READY, LEASED, BLOCKED, SCHEDULED)


# -- the model ------------------------------------------------------------------


@dataclass(eq=False)
class Consumer:
    """A JobQueue as the holder of leases."""

    queue: JobQueue
    number: int
    dead: bool = False
    """Its lease expired, and it has not beaten since."""


@dataclass(eq=False)
class Held:
    """A hand-out."""

    reservation: Reservation
    job: Job
    consumer: Consumer
    alone: bool = False
    """Its lease stands by itself."""
    renewed: bool = True
    """Its consumer still renews it, and gives it back when it closes."""


@dataclass(eq=False)
class Job:
    """What is known of one job."""

    id: UUID
    queue: str
    priority: int
    max_attempts: int
    deps: list[tuple[UUID, Policy]]
    hold: bool
    delayed: bool
    can_expire: bool
    state: JobState = READY
    attempt: int = 0
    redelivered: bool = False
    unmet: set[UUID] = field(default_factory=set)
    place: int = 0
    """Its place in the order; equal for jobs that became ready in one operation."""
    over: bool = False
    """`expires_at` has passed."""
    token: Held | None = None
    """Whose token is current: the holder's, or the last one's if its lease expired."""
    lease: Consumer | Held | None = None
    """What the lease hangs on."""
    result: Any = None
    reason: str | None = None
    out_of_time: bool = False
    """Its record need not be kept any longer."""

    @property
    def live(self) -> bool:
        return self.state in LIVE

    def policy(self, dep: UUID) -> Policy:
        return dict(self.deps)[dep]


class Model:
    """What a JobQueue should hold."""

    def __init__(self) -> None:
        self.jobs: dict[UUID, Job] = {}
        self.paused: set[str] = set()
        self.clock = 0
        self.touched: set[UUID] = set()

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def add(self, job: Job) -> None:
        self.jobs[job.id] = job
        self.settle_in(job)

    def settle_in(self, job: Job) -> None:
        """Find the state of a job that is new (or open again)."""
        self.touched.add(job.id)
        never = []
        job.unmet = set()
        for dep, policy in job.deps:
            other = self.jobs.get(dep)
            if other is None or (not other.live and policy.met_by(other.state)):
                continue  # of a retried job: pruned, and so met long ago
            job.unmet.add(dep)
            if not other.live:
                never.append(other)
        if never and not job.hold:
            return self.end(job, JobState.CANCELED, "dependency")
        job.state = BLOCKED if job.unmet else READY
        if not job.unmet:
            self.let_go(job)

    def let_go(self, job: Job, place: int | None = None) -> None:
        """Nothing is in its way any more, except perhaps time."""
        self.touched.add(job.id)
        job.state = SCHEDULED if job.delayed else READY
        job.place = self.tick() if place is None else place

    def end(self, job: Job, state: JobState, reason: str | None = None, result: Any = None) -> None:
        self.end_all([job], state, reason, result)

    def end_all(self, jobs: list[Job], state: JobState, reason: str | None = None, result: Any = None) -> None:
        place = self.tick()
        for job in jobs:
            self.touched.add(job.id)
            job.state, job.reason, job.result = state, reason, result
            job.token = job.lease = None
        todo = list(jobs)
        while todo:
            ended = todo.pop()
            for other in self.waiting_for(ended):
                if other.policy(ended.id).met_by(ended.state):
                    other.unmet.discard(ended.id)
                    if not other.unmet:
                        self.let_go(other, place)
                elif not other.hold:
                    other.state, other.reason = JobState.CANCELED, "dependency"
                    todo.append(other)
                self.touched.add(other.id)

    def waiting_for(self, job: Job) -> list[Job]:
        return [j for j in self.jobs.values() if j.state is BLOCKED and job.id in j.unmet]

    def dependents(self, job_id: UUID) -> set[UUID]:
        return {j.id for j in self.jobs.values() if any(d == job_id for d, _ in j.deps)}

    def in_order(self, queues: Iterable[str]) -> list[Job]:
        found = [j for j in self.jobs.values() if j.state is READY and j.queue in queues]
        return sorted(found, key=lambda j: (-j.priority, j.place))

    def lose(self, job: Job) -> None:
        """Its lease ended without its holder having settled it."""
        self.touched.add(job.id)
        job.lease = None
        if job.max_attempts and job.attempt >= job.max_attempts:
            return self.end(job, JobState.FAILED, "dead: ")
        job.state, job.redelivered = READY, True

    def upkeep(self) -> None:
        """What `maintain` does to jobs whose time has passed."""
        over = [j for j in self.jobs.values() if j.over and j.live and j.state is not LEASED]
        self.end_all(over, JobState.EXPIRED, "expired")
        needed = {dep for j in self.jobs.values() if j.live for dep, _ in j.deps}
        for job in list(self.jobs.values()):
            if job.out_of_time and not job.live and job.id not in needed:
                del self.jobs[job.id]


# -- the machine ----------------------------------------------------------------

INDEX = st.integers(0, 63)
MODES = st.sampled_from(list(Policy))
SPEC = st.fixed_dictionaries(
    {
        "queue": st.sampled_from(QUEUES),
        "priority": st.sampled_from((0, 0, 0, 5, 255)),
        "deps": st.lists(st.tuples(INDEX, MODES), max_size=3),
        "hold": st.booleans(),
        "delayed": st.sampled_from((False, False, True)),
        "can_expire": st.sampled_from((False, False, True)),
        "max_attempts": st.sampled_from((0, 0, 1, 2)),
    }
)


def _ack_beside_others(queue: JobQueue, reservation: Reservation) -> None:
    if queue.ack_many([reservation]) == [reservation]:
        raise LeaseLost(reservation.job_id)


SETTLE: dict[str, Callable[[JobQueue, Reservation], None]] = {
    "ack": lambda queue, reservation: reservation.ack(),
    "ack with a result": lambda queue, reservation: reservation.ack({"x": 1}),
    "ack_many": _ack_beside_others,
    "extend": lambda queue, reservation: reservation.extend(LONG),
    "fail": lambda queue, reservation: reservation.fail("so"),
    "requeue": lambda queue, reservation: reservation.requeue(),
    "requeue later": lambda queue, reservation: reservation.requeue(LONG),
}
SOME_QUEUES = st.sampled_from((("a",), ("b",), QUEUES))
WHO = st.integers(0, 1)


class QueueMachine(RuleBasedStateMachine):
    """Two consumers on one database."""

    open_database: Callable[[], tuple[str, str]]
    """Gives the URLs (JobQueue's, SQLAlchemy's) of an empty database."""
    options: dict[str, Any] = {}  # noqa: RUF012 - read only

    @initialize(specs=st.lists(SPEC, max_size=5), who=WHO, limit=st.integers(1, 3))
    def start(self, specs: list[dict[str, Any]], who: int, limit: int) -> None:
        self.url, plain = type(self).open_database()
        self.model = Model()
        self.held: list[Held] = []
        self.crashed: list[Consumer] = []
        self.consumers = [self.connect() for _ in range(2)]
        self.tables: Tables = self.consumers[0].queue._store.dialect.tables
        engine = create_engine(plain, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self.raw: Connection = engine.connect()
        for table in self.tables.metadata.sorted_tables:
            if table is not self.tables.meta:
                self.raw.execute(delete(table))
        # Most rules need jobs, some that are held: a run that had to make them first would get no further.
        for spec in specs:
            self.enqueue(spec, 0)
        self.reserve(who, QUEUES, limit)

    def teardown(self) -> None:
        if hasattr(self, "raw"):
            self.raw.close()
            for consumer in self.consumers:
                consumer.queue.close()

    def connect(self) -> Consumer:
        options = {"lease": LONG, "retention": LONG, "result_retention": LONG, "notify": False, "create": True}
        queue = JobQueue(self.url, **options, **self.options)
        return Consumer(queue, queue._keeper.consumer)

    # choosing

    def any_job(self, index: int, *states: JobState) -> Job | None:
        found = [j for j in self.model.jobs.values() if not states or j.state in states]
        return found[index % len(found)] if found else None

    def any_held(self, index: int) -> Held | None:
        """A hand-out: every other time one that is not settled, if there is one."""
        some = [h for h in self.held if not h.reservation.settled] if index % 2 else []
        some = some or self.held
        return some[index // 2 % len(some)] if some else None

    def on_tables(self, statement: Any) -> None:
        assert self.raw.execute(statement).rowcount == 1

    def maintain(self, who: int = 0) -> None:
        self.consumers[who].queue.maintain()
        self.model.upkeep()

    # enqueue

    def message(self, spec: dict[str, Any], known: list[UUID]) -> tuple[JobMessage, Job]:
        deps: dict[UUID, Policy] = {}
        for index, policy in spec["deps"]:
            if known:
                deps.setdefault(known[index % len(known)], policy)
        fields = {k: spec[k] for k in ("queue", "priority", "hold", "delayed", "can_expire", "max_attempts")}
        job = Job(id=uuid4(), deps=list(deps.items()), **fields)
        message = JobMessage(
            job.id,
            job_type=job.queue,
            args={"id": str(job.id)},
            priority=job.priority,
            depends_on=[Dependency(i, p) for i, p in job.deps],
            on_unmet="hold" if job.hold else "cancel",
            delay=LONG if job.delayed else None,
            expires_in=LONG if job.can_expire else None,
            max_attempts=job.max_attempts,
        )
        return message, job

    @rule(spec=SPEC, who=WHO)
    def enqueue(self, spec: dict[str, Any], who: int) -> None:
        message, job = self.message(spec, list(self.model.jobs))
        assert self.consumers[who].queue.enqueue(message) == job.id
        self.model.add(job)

    @rule(specs=st.lists(SPEC, min_size=1, max_size=4))
    def enqueue_many(self, specs: list[dict[str, Any]]) -> None:
        known, pairs = list(self.model.jobs), []
        for spec in specs:
            pairs.append(self.message(spec, known))
            known.append(pairs[-1][1].id)
        assert self.consumers[0].queue.enqueue_many([m for m, _ in pairs]) == len(pairs)
        for _, job in pairs:
            self.model.add(job)

    @precondition(lambda self: self.model.jobs)
    @rule(spec=SPEC, index=INDEX)
    def enqueue_taken_id(self, spec: dict[str, Any], index: int) -> None:
        fresh, _ = self.message(spec, list(self.model.jobs))
        taken = self.any_job(index)
        assert taken is not None
        with pytest.raises(Duplicate):
            self.consumers[1].queue.enqueue_many([fresh, JobMessage(taken.id, job_type="a")])

    @rule(spec=SPEC)
    def enqueue_with_unknown_dependency(self, spec: dict[str, Any]) -> None:
        unknown = uuid4()
        _, job = self.message(spec, [*self.model.jobs, unknown])
        fresh = JobMessage(uuid4(), job_type="a", depends_on=[*(i for i, _ in job.deps), unknown])
        with pytest.raises(NotExist) as caught:
            self.consumers[0].queue.enqueue_many([JobMessage(uuid4(), job_type="b"), fresh])
        assert caught.value.job_ids == (unknown,)

    # reserve

    @rule(who=WHO, queues=SOME_QUEUES, limit=st.integers(1, 3))
    def reserve(self, who: int, queues: tuple[str, ...], limit: int) -> None:
        consumer = self.consumers[who]
        try:
            found = consumer.queue.reserve_many(limit, 0, queues=queues)
        except Empty:
            found = []
        expected: list[Job] = []
        while not expected:
            first = self.model.in_order(set(queues) - self.model.paused)[:limit]
            if not first:
                break
            for job in first:
                if job.over:
                    self.model.end(job, JobState.EXPIRED, "expired")
                else:
                    expected.append(job)
        assert [r.job_id for r in found] == [j.id for j in expected]
        for reservation, job in zip(found, expected, strict=True):
            self.hand_out(consumer, reservation, job)

    def hand_out(self, consumer: Consumer, reservation: Reservation, job: Job) -> Held:
        held = Held(reservation, job, consumer)
        job.state, job.token, job.lease = LEASED, held, consumer
        job.attempt += 1
        self.held.append(held)
        self.model.touched.add(job.id)
        assert (reservation.attempt, reservation.redelivered) == (job.attempt, job.redelivered)
        assert reservation.args == {"id": str(job.id)}
        assert (reservation.job_id, reservation.job_type) == (job.id, job.queue)
        assert reservation.depends_on == tuple(i for i, _ in job.deps)
        return held

    @precondition(lambda self: self.model.jobs)
    @rule(who=WHO, index=INDEX, renew=st.booleans())
    def dequeue_by_id(self, who: int, index: int, renew: bool) -> None:
        job, consumer = self.any_job(index), self.consumers[who]
        assert job is not None
        if job.state is READY and job.queue not in self.model.paused and not job.over:
            held = self.hand_out(consumer, consumer.queue.dequeue_by_id(job.id, renew=renew), job)
            if not renew:
                job.lease, held.alone, held.renewed = held, True, False
            return
        with pytest.raises(NotPending):
            consumer.queue.dequeue_by_id(job.id, renew=renew)
        if job.state is READY and job.over and job.queue not in self.model.paused:
            self.model.end(job, JobState.EXPIRED, "expired")

    # settle

    @contextlib.contextmanager
    def settling(self, held: Held, state: JobState | None, result: Any = None) -> Iterator[bool]:
        """Whether it must work; if not, the block must raise what is due, or do nothing if already settled."""
        if held.reservation.settled or self.ended_so(held, state, result):
            yield False
        elif held.job.token is held:
            yield True
        else:
            there = self.model.jobs.get(held.job.id)
            canceled = there is not None and there.state is JobState.CANCELED
            with pytest.raises(Canceled if canceled else LeaseLost):
                yield False
        assert held.reservation.settled

    def ended_so(self, held: Held, state: JobState | None, result: Any = None) -> bool:
        """Whether it would be the answer to an ack that was lost: the same end, of the same attempt."""
        there, attempt = self.model.jobs.get(held.job.id), held.reservation.attempt
        return there is not None and (there.state, there.attempt, there.result) == (state, attempt, result)

    @precondition(lambda self: self.held)
    @rule(index=INDEX, result=st.sampled_from((None, 0, {"x": [1]}, "r")))
    def ack(self, index: int, result: Any) -> None:
        held = self.any_held(index)
        assert held is not None
        with self.settling(held, JobState.SUCCEEDED, result) as works:
            held.reservation.ack(result)
        if works:
            self.model.end(held.job, JobState.SUCCEEDED, None, result)

    @precondition(lambda self: self.held)
    @rule(index=INDEX)
    def ack_with_impossible_result(self, index: int) -> None:
        held = self.any_held(index)
        assert held is not None
        if not held.reservation.settled:
            with pytest.raises(InvalidJob):
                held.reservation.ack({"x": float("nan")})

    @precondition(lambda self: self.held)
    @rule(indexes=st.lists(INDEX, min_size=1, max_size=4))
    def ack_many(self, indexes: list[int]) -> None:
        first = self.any_held(indexes[0])
        assert first is not None
        some = list(dict.fromkeys(h for i in indexes if (h := self.any_held(i)) is not None))
        some = [h for h in some if h.consumer is first.consumer]
        todo = [h for h in some if not h.reservation.settled]
        works = [h for h in todo if h.job.token is h]
        lost = [h.reservation for h in todo if h not in works and not self.ended_so(h, JobState.SUCCEEDED)]
        assert first.consumer.queue.ack_many([h.reservation for h in some]) == lost
        self.model.end_all([h.job for h in works], JobState.SUCCEEDED)

    @precondition(lambda self: self.held)
    @rule(index=INDEX, how=st.sampled_from(("fail", "reject")))
    def fail(self, index: int, how: str) -> None:
        held = self.any_held(index)
        assert held is not None
        with self.settling(held, JobState.FAILED) as works:
            getattr(held.reservation, how)("so")
        if works:
            self.model.end(held.job, JobState.FAILED, "so" if how == "fail" else "dead: so")

    @precondition(lambda self: self.held)
    @rule(index=INDEX, delay=st.sampled_from((0, 0, LONG)))
    def requeue(self, index: int, delay: float) -> None:
        held = self.any_held(index)
        assert held is not None
        job = held.job
        with self.settling(held, None) as works:
            held.reservation.requeue(delay)
        if not works:
            return
        job.token = job.lease = None
        self.model.touched.add(job.id)
        job.redelivered = True
        if job.max_attempts and job.attempt >= job.max_attempts:
            self.model.end(job, JobState.FAILED, "dead: ")
        elif delay:
            job.delayed = True
            self.model.let_go(job)
        else:
            job.state = READY

    @precondition(lambda self: self.held)
    @rule(index=INDEX, how=st.sampled_from(("extend", "refresh_heartbeat")), who=WHO)
    def extend(self, index: int, how: str, who: int) -> None:
        held = self.any_held(index)
        assert held is not None
        works = held.job.token is held
        if how == "extend" and held.reservation.settled:
            works = False
        with contextlib.nullcontext() if works else pytest.raises(LeaseLost):
            if how == "extend":
                held.reservation.extend(LONG)
            else:
                self.consumers[who].queue.refresh_heartbeat(held.reservation.token)
        if not works:
            return
        self.model.touched.add(held.job.id)
        stood_alone = held.job.lease is held
        held.alone, held.job.state, held.job.lease = True, LEASED, held
        if stood_alone:
            return
        # Who detaches it goes on renewing it only if it is a reservation of its own.
        held.renewed = held.renewed and how == "extend"

    # by id

    def check_by_id(self, consumer: Consumer, job: Job, held: Held | None) -> type[DepQueueError] | None:
        """What ending a job by its id, or (`held`) by a token, must raise."""
        if held is not None:
            if held.job.id != job.id:
                return LeaseLost if held.job.token is held or job.live else self.not_running(job)
            if held.job.token is held:
                return None
            return LeaseLost if job.live else self.not_running(job)
        if job.state is not LEASED:
            return self.not_running(job)
        mine = [h for h in self.held_by(consumer) if h.job.id == job.id]
        return LeaseLost if mine and job.token not in mine else None

    def held_by(self, consumer: Consumer) -> list[Held]:
        """The reservations that a JobQueue still counts as its own."""
        return [h for h in self.held if h.consumer is consumer and h.renewed and not h.reservation.settled]

    def not_running(self, job: Job) -> type[DepQueueError]:
        return Canceled if job.state is JobState.CANCELED else NotRunning

    @precondition(lambda self: self.model.jobs)
    @rule(who=WHO, index=INDEX, token=st.none() | INDEX, how=st.sampled_from(("finish", "fail_job")))
    def end_by_id(self, who: int, index: int, token: int | None, how: str) -> None:
        consumer, job = self.consumers[who], self.any_job(index)
        held = None if token is None else self.any_held(token)
        assert job is not None
        error = self.check_by_id(consumer, job, held)
        text = None if held is None else held.reservation.token
        with contextlib.nullcontext() if error is None else pytest.raises(error):
            if how == "finish":
                consumer.queue.finish(job.id, {"by": "id"}, token=text)
            else:
                consumer.queue.fail_job(job.id, "so", {"by": "id"}, token=text)
        self.forget_held(consumer, job, held, error)
        if error is None:
            state = JobState.SUCCEEDED if how == "finish" else JobState.FAILED
            self.model.end(job, state, None if how == "finish" else "so", {"by": "id"})

    def forget_held(self, consumer: Consumer, job: Job, held: Held | None, error: type[DepQueueError] | None) -> None:
        """Ending a job by id takes it off the list of those that its JobQueue renews."""
        gone = [held] if held is not None and error is not LeaseLost else []
        if held is not None and error is LeaseLost and held.job.token is not held:
            gone = [held]
        if held is None and error is None and job.token is not None:
            gone = [job.token]
        for one in gone:
            if one.consumer is consumer:
                one.renewed = False

    @precondition(lambda self: self.model.jobs)
    @rule(who=WHO, index=INDEX, retries=st.integers(0, 2))
    def requeue_or_finish(self, who: int, index: int, retries: int) -> None:
        consumer, job = self.consumers[who], self.any_job(index)
        assert job is not None
        error = self.check_by_id(consumer, job, None)
        if error is not None:
            with pytest.raises(error):
                consumer.queue.requeue_or_finish(job.id, retries)
            return
        spent = bool(job.max_attempts and job.attempt >= job.max_attempts)
        again = job.attempt <= retries and not spent
        assert consumer.queue.requeue_or_finish(job.id, retries, "r") is again
        self.forget_held(consumer, job, None, None)
        self.model.touched.add(job.id)
        if again:
            job.state, job.redelivered, job.token, job.lease = READY, True, None, None
        else:
            self.model.end(job, JobState.FAILED, "dead: ", None if job.attempt <= retries else "r")

    @precondition(lambda self: self.model.jobs)
    @rule(who=WHO, index=INDEX)
    def cancel(self, who: int, index: int) -> None:
        job = self.any_job(index)
        assert job is not None
        assert self.consumers[who].queue.cancel(job.id) is job.live
        if job.live:
            self.model.end(job, JobState.CANCELED, "canceled")

    # operators

    @precondition(lambda self: self.model.jobs)
    @rule(index=INDEX, subtree=st.booleans(), ended=st.booleans())
    def retry(self, index: int, subtree: bool, ended: bool) -> None:
        states = (JobState.FAILED, JobState.CANCELED, JobState.EXPIRED) if ended else ()
        job = self.any_job(index, *states)
        if job is None:
            return
        queue = self.consumers[0].queue
        opened = (
            self.reopened(job, subtree) if job.state in (JobState.FAILED, JobState.CANCELED, JobState.EXPIRED) else None
        )
        if opened is None:
            with pytest.raises(NotPending):
                queue.retry(job.id, subtree=subtree)
            return
        assert queue.retry(job.id, subtree=subtree) == len(opened)
        for one in opened:
            one.state, one.attempt, one.redelivered, one.delayed = READY, 0, False, False
            one.can_expire = one.over = one.out_of_time = False
            one.result = one.reason = None
        place = self.model.tick()
        for one in opened:  # each after those it depends on
            self.model.settle_in(one)
            one.place = place

    def reopened(self, job: Job, subtree: bool) -> list[Job] | None:
        """Which jobs are open again, dependencies first; None: something is in the way."""
        opened: dict[UUID, Job] = {}
        todo = [job]
        while todo:
            one = todo.pop()
            opened[one.id] = one
            if subtree:
                some = [self.model.jobs[i] for i in self.model.dependents(one.id)]
                todo += [j for j in some if j.reason == f"dependency {one.id} {one.state}"]
        if any(
            self.is_in_the_way(dep, policy, one)
            for one in opened.values()
            for dep, policy in one.deps
            if dep not in opened
        ):
            return None
        return sorted(opened.values(), key=lambda one: self.depth(one, opened))

    def is_in_the_way(self, dep: UUID, policy: Policy, job: Job) -> bool:
        """Whether a job would only be canceled again because of a dependency."""
        other = self.model.jobs.get(dep)
        if other is None:
            return job.reason is not None and str(dep) in job.reason
        return not (other.live or job.hold or policy.met_by(other.state))

    def depth(self, job: Job, among: dict[UUID, Job]) -> int:
        return max((1 + self.depth(among[dep], among) for dep, _ in job.deps if dep in among), default=0)

    @rule(queue=st.sampled_from(QUEUES))
    def purge(self, queue: str) -> None:
        pending = [j for j in self.model.jobs.values() if j.live and j.state is not LEASED and j.queue == queue]
        assert self.consumers[1].queue.purge(queue) == len(pending)
        self.model.end_all(pending, JobState.CANCELED, "purged")

    # One rule, and resumed more often than paused: from a paused queue comes nothing to be tried.
    @rule(queue=st.sampled_from(QUEUES), paused=st.sampled_from((True, False, False)))
    def pause_or_resume(self, queue: str, paused: bool) -> None:
        if paused:
            self.consumers[0].queue.pause(queue)
            self.model.paused.add(queue)
        else:
            self.consumers[1].queue.resume(queue)
            self.model.paused.discard(queue)

    @precondition(lambda self: self.model.jobs)
    @rule(index=INDEX)
    def delete_job(self, index: int) -> None:
        job, jobs = self.any_job(index), self.model.jobs
        assert job is not None
        if self.model.dependents(job.id):
            with pytest.raises(NotPending):
                self.consumers[0].queue.delete_job(job.id)
            return
        deleted, todo = [], [job.id]
        while todo:
            gone = jobs.pop(todo.pop(), None)
            if gone is not None:
                gone.token = gone.lease = None
                deleted.append(gone)
                todo += [dep for dep, _ in gone.deps if not self.model.dependents(dep)]
        assert self.consumers[0].queue.delete_job(job.id) == len(deleted)

    # time

    @precondition(lambda self: self.any_job(0, SCHEDULED))
    @rule(index=INDEX)
    def become_due(self, index: int) -> None:
        job, wait = self.any_job(index, SCHEDULED), self.tables.wait
        assert job is not None
        self.on_tables(update(wait).where(wait.c.job_id == job.id).values(due_at=PAST, run_at=PAST))
        job.delayed = False
        self.model.let_go(job)
        self.maintain()

    @precondition(lambda self: any(j.delayed for j in self.model.jobs.values() if j.state is BLOCKED))
    @rule(index=INDEX)
    def become_due_while_blocked(self, index: int) -> None:
        some = [j for j in self.model.jobs.values() if j.state is BLOCKED and j.delayed]
        job, wait = some[index % len(some)], self.tables.wait
        self.on_tables(update(wait).where(wait.c.job_id == job.id).values(run_at=PAST))
        job.delayed = False
        self.maintain()

    @precondition(lambda self: any(j.can_expire and j.live for j in self.model.jobs.values()))
    @rule(index=INDEX, maintain=st.booleans())
    def pass_expiry(self, index: int, maintain: bool) -> None:
        some = [j for j in self.model.jobs.values() if j.can_expire and j.live]
        job = some[index % len(some)]
        table = self.tables.wait if job.state in (BLOCKED, SCHEDULED) else self.tables.job
        self.on_tables(update(table).where(table.c.job_id == job.id).values(expires_at=PAST))
        job.over, job.can_expire = True, False
        if maintain:
            self.maintain()

    @precondition(lambda self: any(not j.live for j in self.model.jobs.values()))
    @rule(index=INDEX)
    def pass_retention(self, index: int) -> None:
        ended = [j for j in self.model.jobs.values() if not j.live]
        job, done = ended[index % len(ended)], self.tables.done
        self.on_tables(update(done).where(done.c.job_id == job.id).values(keep_until=PAST))
        job.out_of_time = True
        self.maintain()

    @rule(index=INDEX)
    def expire_lease(self, index: int) -> None:
        some = [c for c in [*self.consumers, *self.crashed] if self.is_registered(c)]
        if not some:
            return
        self.expire(some[index % len(some)])

    def expire(self, consumer: Consumer) -> None:
        table = self.tables.consumer
        self.on_tables(update(table).where(table.c.id == consumer.number).values(leased_until=PAST))
        consumer.dead = True
        for job in [j for j in self.model.jobs.values() if j.lease is consumer]:
            self.model.lose(job)
        self.maintain()

    @rule(who=WHO, queue=st.sampled_from(QUEUES), how=st.sampled_from(sorted(SETTLE)))
    def settle_what_another_has(self, who: int, queue: str, how: str) -> None:
        """A lease runs out, and the other consumer is given the job: who held it can do nothing any more."""
        first, second = self.consumers[who], self.consumers[1 - who]
        if queue in self.model.paused:
            return
        job = Job(uuid4(), queue, 0, 0, [], hold=False, delayed=False, can_expire=False)
        first.queue.enqueue(JobMessage(job.id, job_type=queue, args={"id": str(job.id)}))
        self.model.add(job)
        stale = self.hand_out(first, first.queue.dequeue_by_id(job.id), job)
        if not self.is_registered(first):
            return
        self.expire(first)
        self.hand_out(second, second.queue.dequeue_by_id(job.id), job)
        with pytest.raises(LeaseLost):
            SETTLE[how](first.queue, stale.reservation)

    def is_registered(self, consumer: Consumer) -> bool:
        table = self.tables.consumer
        return bool(self.raw.execute(select(table.c.id).where(table.c.id == consumer.number)).all())

    @precondition(lambda self: any(isinstance(j.lease, Held) for j in self.model.jobs.values()))
    @rule(index=INDEX)
    def expire_lease_of_one(self, index: int) -> None:
        some = [j for j in self.model.jobs.values() if isinstance(j.lease, Held)]
        job, table, hot = some[index % len(some)], self.tables.consumer, self.tables.job
        number = select(hot.c.consumer_id).where(hot.c.job_id == job.id).scalar_subquery()
        self.on_tables(update(table).where(table.c.id == number).values(leased_until=PAST))
        self.model.lose(job)
        self.maintain()

    # processes: one rule, or there would be hardly a lease that lasts

    @rule(who=WHO, what=st.sampled_from(("beat", "beat", "restart", "crash")))
    def live_or_die(self, who: int, what: str) -> None:
        getattr(self, what)(who)

    def beat(self, who: int) -> None:
        consumer = self.consumers[who]
        consumer.queue._keeper.beat()
        if not consumer.dead:
            return
        consumer.dead = False
        for held in self.held_by(consumer):
            if held.job.token is held and held.job.state is READY:
                held.job.state, held.job.lease = LEASED, consumer
                self.model.touched.add(held.job.id)

    def restart(self, who: int) -> None:
        consumer = self.consumers[who]
        consumer.queue.close()
        for job in [j for j in self.model.jobs.values() if j.lease is consumer]:
            self.model.lose(job)
        for held in [h for h in self.held_by(consumer) if h.job.lease is h]:
            self.model.lose(held.job)
        self.replace(who)

    def crash(self, who: int) -> None:
        """The process is gone without a word."""
        self.consumers[who].queue._database.close()
        self.crashed.append(self.consumers[who])
        self.replace(who)

    def replace(self, who: int) -> None:
        gone = self.consumers[who]
        self.held = [h for h in self.held if h.consumer is not gone]
        self.consumers[who] = self.connect()

    @rule(who=WHO)
    def upkeep(self, who: int) -> None:
        self.maintain(who)

    # comparing

    @invariant()
    def tables_are_as_the_model_says(self) -> None:
        if not hasattr(self, "raw"):
            return
        t, jobs = self.tables, self.model.jobs
        hot = self.raw.execute(select(t.job).order_by(t.job.c.seq)).mappings().all()
        wait = {r["job_id"]: r for r in self.raw.execute(select(t.wait)).mappings()}
        done = {r["job_id"]: r for r in self.raw.execute(select(t.done)).mappings()}
        assert [r["job_id"] for r in hot] == [j.id for j in self.adopt_order([r["job_id"] for r in hot])], (
            "the order of ready and leased jobs"
        )
        assert set(wait) == {j.id for j in jobs.values() if j.state in (BLOCKED, SCHEDULED)}
        assert set(done) == {j.id for j in jobs.values() if not j.live}
        for row in hot:
            assert (row["consumer_id"] is not None) == (jobs[row["job_id"]].state is LEASED)
        for job_id, row in wait.items():
            assert (row["due_at"] is None) == (jobs[job_id].state is BLOCKED)
        for job_id, row in done.items():
            assert row["status"] == STATUS[jobs[job_id].state]
        bodies = set(self.raw.execute(select(t.ended_body.c.job_id)).scalars())
        assert bodies == {i for i in done if jobs[i].state is not JobState.SUCCEEDED}
        self.check_edges({r["job_id"]: r["flags"] for r in (*hot, *wait.values(), *done.values())})

    def adopt_order(self, ids: list[UUID]) -> list[Job]:
        """The hot jobs in the model's order; where that leaves it open, in the order given."""
        index = {job_id: n for n, job_id in enumerate(ids)}
        hot = [j for j in self.model.jobs.values() if j.state in (READY, LEASED)]
        hot.sort(key=lambda j: (j.place, index.get(j.id, -1)))
        for job in hot:
            job.place = self.model.tick()
        return hot

    def check_edges(self, flags: dict[UUID, int]) -> None:
        t, jobs = self.tables, self.model.jobs
        edges = set(map(tuple, self.raw.execute(select(t.dep.c.job_id, t.dep.c.dep_id))))
        assert edges == {(j.id, dep) for j in jobs.values() for dep, _ in j.deps}
        counters = dict(map(tuple, self.raw.execute(select(t.blocked))))
        assert counters == {j.id: len(j.unmet) for j in jobs.values() if j.state is BLOCKED}
        assert self.raw.execute(select(t.release)).all() == []
        for job in jobs.values():
            for dep in job.unmet if job.state is BLOCKED else ():
                assert flags[dep] & Flag.HAS_DEPENDENTS, "its end would tell nobody"

    @invariant()
    def status_and_why_agree(self) -> None:
        if not hasattr(self, "raw"):
            return
        some = [self.model.jobs[i] for i in self.model.touched if i in self.model.jobs]
        self.model.touched = set()
        if self.model.jobs:  # and one that was not concerned
            some.append(list(self.model.jobs.values())[self.model.clock % len(self.model.jobs)])
        for job in some:
            self.check_status(job)
            self.check_why(job)

    def check_status(self, job: Job) -> None:
        status = self.consumers[0].queue.status(job.id)
        assert (status.job_type, status.state, status.attempt) == (job.queue, job.state, job.attempt)
        assert status.canceled == (job.state is JobState.CANCELED)
        assert status.depends_on == tuple(i for i, _ in job.deps)
        assert set(status.dependents) == self.model.dependents(job.id)
        assert status.result == job.result
        assert (status.finished is None) == job.live
        if job.state is not JobState.SUCCEEDED:
            assert (status.priority, status.max_attempts) == (job.priority, job.max_attempts)
        self.check_reason(job, status.reason)

    def check_reason(self, job: Job, reason: str | None) -> None:
        if job.reason == "dependency":
            never = {f"dependency {i} {self.model.jobs[i].state}" for i in job.unmet if i in self.model.jobs}
            assert reason in never
            job.reason = reason  # it could have named another of them
        elif job.reason == "dead: ":
            assert reason is not None
            assert reason.startswith("dead: ")
        else:
            assert reason == job.reason

    def check_why(self, job: Job) -> None:
        why, jobs = self.consumers[1].queue.why(job.id), self.model.jobs
        assert why.state is job.state
        unmet = job.unmet if job.state is BLOCKED else set()
        assert {d.job_id for d in why.unmet} == {i for i in unmet if jobs[i].live}
        assert {d.job_id for d in why.never} == {i for i in unmet if not jobs[i].live}
        assert (why.holder is not None) == (job.state is LEASED)
        if job.live:
            assert why.paused == (job.queue in self.model.paused)
        if job.state is READY:
            assert why.ahead == self.model.in_order([job.queue]).index(job)
        known = [(i, jobs[i].state, jobs[i].result) for i, _ in job.deps if i in jobs]
        found = self.consumers[1].queue.results_of_dependencies(job.id)
        assert [(d.job_id, d.state, d.result) for d in found] == known

    @invariant()
    def counts_and_roots_agree(self) -> None:
        if not hasattr(self, "raw"):
            return
        queue, jobs = self.consumers[1].queue, self.model.jobs
        for info in queue.queues():
            states = [j.state for j in jobs.values() if j.queue == info.name]
            found = (info.ready, info.leased, info.scheduled, info.blocked)
            assert found == tuple(states.count(s) for s in (READY, LEASED, SCHEDULED, BLOCKED))
            assert info.paused == (info.name in self.model.paused)
        assert set(queue.all_root_jobs()) == {i for i in jobs if not self.model.dependents(i)}


# -- running it -----------------------------------------------------------------


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread does anything by itself, and slow claims are no reason to use cursors."""
    monkeypatch.setattr(Keeper, "_run", lambda self: None)
    monkeypatch.setattr(cursor_module, "SLOW", float("inf"))


FOCUS = {
    "all": frozenset[str](),
    "leases": frozenset(
        "enqueue reserve dequeue_by_id settle_what_another_has ack ack_many fail requeue extend end_by_id expire_lease".split()
    ),
    "graphs": frozenset("enqueue enqueue_many reserve ack_many fail cancel retry requeue upkeep".split()),
}
"""Rules that are looked at alone: among thirty others it takes long until three of them meet."""


def others_than(wanted: frozenset[str]) -> dict[str, None]:
    """What takes away the other rules from a subclass."""
    rules = {name for name in dir(QueueMachine) if hasattr(getattr(QueueMachine, name), RULE_MARKER)}
    assert wanted <= rules, wanted - rules
    return dict.fromkeys(rules - wanted) if wanted else {}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("focus", FOCUS)
def test_queue_does_what_the_model_says(focus: str, place: Place, quiet: None, pytestconfig: pytest.Config) -> None:
    sqlite = make_url(place.engine_url).get_backend_name() == "sqlite"
    count = 0

    def open_database() -> tuple[str, str]:
        nonlocal count
        count += 1
        if not sqlite:
            return place.url, place.engine_url
        # A file for each example.
        file = place.url.replace("jobs.db", f"jobs{count}.db")
        return file, file

    options = {"synchronous": "NORMAL"} if sqlite else {}
    others = others_than(FOCUS[focus])
    machine = type("Machine", (QueueMachine,), {"open_database": open_database, "options": options, **others})
    machine.open_database = staticmethod(open_database)
    examples = EXAMPLES["sqlite" if sqlite else "other"] // (1 if focus == "all" else 2)
    run_machine(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )


EXAMPLES = {"sqlite": 60, "other": 25}
