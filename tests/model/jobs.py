"""The model: what a JobQueue should hold, in a dict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from kombu_depqueue import JobQueue, JobState, Policy, Reservation

LONG = 1_000_000.0
PAST = datetime(2000, 1, 1, tzinfo=UTC)
Queue = tuple[str, str]
"""Channel and name."""
QUEUES: tuple[Queue, ...] = (("", "a"), ("", "b"), ("t", "a"))
READY, LEASED, BLOCKED, SCHEDULED = JobState.READY, JobState.LEASED, JobState.BLOCKED, JobState.SCHEDULED
LIVE = (READY, LEASED, BLOCKED, SCHEDULED)


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
    listed: bool = True
    """Its JobQueue counts it as its own, and takes it again after having been taken for dead."""
    kept: bool = False
    """Of a lease that stands by itself: its JobQueue renews it, and gives it back when it closes."""


@dataclass(eq=False)
class Job:
    """What is known of one job."""

    id: UUID
    queue: Queue
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
    forged: bool = False
    """Somebody without a key has changed it."""
    over: bool = False
    """`expires_at` has passed."""
    token: Held | None = None
    """Whose token is current: the holder's, or the last one's if its lease expired."""
    lease: Consumer | Held | None = None
    """What the lease hangs on."""
    result: Any = None
    reason: str | None = None
    tracked: bool = True
    """Else a message that is no job: one of several copies."""
    body: str = ""
    """Of what came by Kombu."""
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
        self.paused: set[Queue] = set()
        self.limits: dict[Queue, int] = {}
        """How many jobs each may hold."""
        self.workers: set[UUID] = set()
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
            if not job.tracked:
                del self.jobs[job.id]
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

    def bury(self, jobs: list[Job], state: JobState, reason: str, letter: str) -> None:
        """End jobs, or send them where dead letters go."""
        self.end_all(jobs, state, reason)

    def waiting_for(self, job: Job) -> list[Job]:
        return [j for j in self.jobs.values() if j.state is BLOCKED and job.id in j.unmet]

    def dependents(self, job_id: UUID) -> set[UUID]:
        return {j.id for j in self.jobs.values() if any(d == job_id for d, _ in j.deps)}

    def in_order(self, queues: Iterable[Queue]) -> list[Job]:
        found = [j for j in self.jobs.values() if j.state is READY and j.queue in queues]
        return sorted(found, key=lambda j: (-j.priority, j.place))

    def lose(self, job: Job) -> None:
        """Its lease ended without its holder having settled it."""
        self.touched.add(job.id)
        job.lease = None
        if job.max_attempts and job.attempt >= job.max_attempts:
            return self.bury([job], JobState.FAILED, "dead: ", "delivery_limit")
        job.state, job.redelivered = READY, True

    def is_full(self, coming: Iterable[Job]) -> bool:
        """Whether one of their queues has no room for these."""
        counts = Counter(j.queue for j in coming)
        there = Counter(j.queue for j in self.jobs.values() if j.live)
        return any(there[queue] + count > self.limits.get(queue, 10**9) for queue, count in counts.items())

    def expire(self) -> None:
        """End whatever waits and should not any longer."""
        over = [j for j in self.jobs.values() if j.over and j.live and j.state is not LEASED]
        blocked = [j for j in over if j.state is BLOCKED]
        self.bury([j for j in over if j not in blocked], JobState.EXPIRED, "expired", "expired")
        self.end_all(blocked, JobState.EXPIRED, "expired")

    def prunable(self) -> list[Job]:
        """Records that nobody needs, and that are out of time."""
        needed = {dep for j in self.jobs.values() if j.live for dep, _ in j.deps}
        return [j for j in self.jobs.values() if j.out_of_time and not j.live and j.id not in needed]

    def upkeep(self) -> None:
        """What `maintain` does to jobs whose time has passed."""
        self.expire()
        for job in self.prunable():
            del self.jobs[job.id]
