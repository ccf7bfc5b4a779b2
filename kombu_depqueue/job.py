"""A job: what is enqueued (`JobMessage`), what is known of it (`JobStatus`), its states."""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

__all__ = [
    "Dependency",
    "DependencyResult",
    "JobInfo",
    "JobMessage",
    "JobPage",
    "JobState",
    "JobStatus",
    "OnUnmet",
    "Policy",
    "QueueInfo",
    "Why",
    "WorkerInfo",
    "new_job_id",
]


class JobState(enum.StrEnum):
    """The states of a job, and how it moves between them.

    pending   -> leased                claimed: run_at reached, dependencies finished
    leased    -> succeeded | failed    ack / finish / fail / reject
    leased    -> pending               requeue, or the lease expired
    leased    -> failed                attempts used up (the job is *dead*)
    pending | leased -> canceled       cancel
    pending   -> canceled              its dependency rule can no longer be met
    pending   -> expired               expires_at passed before it was reserved

    `blocked`, `scheduled` and `ready` are the three ways of being pending.
    `running` is a Celery job whose delivery was acked before its outcome is known.
    """

    BLOCKED = "blocked"
    SCHEDULED = "scheduled"
    READY = "ready"
    LEASED = "leased"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_pending(self) -> bool:
        """Enqueued, and not reserved."""
        return self in (JobState.BLOCKED, JobState.SCHEDULED, JobState.READY)

    @property
    def is_finished(self) -> bool:
        """In an end state: it will not change any more, unless retried."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED)


class Policy(enum.StrEnum):
    """Which end of a dependency lets the dependent run."""

    FINISHED = "finished"
    """It succeeded or failed (the default, and the origin's rule)."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TERMINAL = "terminal"
    """Any end: also canceled or expired."""

    def met_by(self, state: JobState) -> bool:
        """Whether a dependency that ended as `state` fulfils this policy."""
        return state.value in _MET[self]


_MET = {
    Policy.FINISHED: frozenset(("succeeded", "failed")),
    Policy.SUCCEEDED: frozenset(("succeeded",)),
    Policy.FAILED: frozenset(("failed",)),
    Policy.TERMINAL: frozenset(("succeeded", "failed", "canceled", "expired")),
}


class OnUnmet(enum.StrEnum):
    """What becomes of a job whose dependency ended so that its policy can never be met."""

    CANCEL = "cancel"
    """It is canceled, with the dependency named in the reason; so are its dependents in turn."""
    HOLD = "hold"
    """It stays blocked and `why` lists it as never satisfied, until canceled or the dependency is retried."""


def new_job_id() -> UUID:
    """Make a job id: a UUID of version 7 (RFC 9562 §5.7), so that ids sort by time."""
    millis = time.time_ns() // 1_000_000
    bits = (millis << 80) | int.from_bytes(os.urandom(10), "big")
    return UUID(int=(bits & ~(0xF << 76) & ~(0x3 << 62)) | (7 << 76) | (2 << 62))


@dataclass(frozen=True, slots=True)
class Dependency:
    """A job to wait for, with a policy of its own (None: the job's, else the queue's)."""

    job_id: UUID
    policy: Policy | None = None


@dataclass(frozen=True)
class JobMessage:
    """A job as its producer describes it and its worker receives it.

    `JobMessage(job_id, run_at)` is the lease port's message; `JobMessage.new(...)`
    makes the id. Nothing is checked before the message is enqueued.

    job_id: the job's public identity; nil is refused, one that is live is a `Duplicate`.
    run_at: not handed out before (aware datetime; the database's clock decides).
    job_type: the queue it is delivered from; "" = the JobQueue's default.
    args: any JSON value; not used when `body` is given.
    delay: seconds from now; the later of the two counts if `run_at` is given too.
    priority: 0-255, bigger first.
    depends_on: ids (or `Dependency`s) that must have ended first; order is kept.
    dependency_policy, on_unmet: for the dependencies that name none; None = the JobQueue's.
    max_attempts: deliveries before the job is dead; 0 = unlimited, None = the JobQueue's.
    channel: the tenant; a worker sees only the channels it asks for.
    expires_in: seconds after which it ends as expired instead of being handed out.
    body, content_type, headers: for what is not JSON; `headers` is a JSON object.
    """

    job_id: UUID
    run_at: datetime | None = None
    job_type: str = ""
    args: Any = None
    delay: float | None = None
    priority: int = 0
    depends_on: Sequence[UUID | str | Dependency] = ()
    dependency_policy: Policy | str | None = None
    on_unmet: OnUnmet | str | None = None
    max_attempts: int | None = None
    channel: str = ""
    expires_in: float | None = None
    body: bytes | None = field(default=None, repr=False)
    content_type: str | None = None
    headers: Mapping[str, Any] | None = field(default=None, repr=False)
    id_is_new: bool = field(default=False, repr=False, compare=False)
    """The id was made for this message, so nobody else can have it."""

    @classmethod
    def new(cls, job_type: str = "", args: Any = None, **fields: Any) -> Self:
        """Make a message with a new id: `JobMessage.new("resize", {"w": 80}, delay=5)`."""
        if "job_id" in fields:
            return cls(job_type=job_type, args=args, **fields)
        if fields:
            return cls(job_id=new_job_id(), job_type=job_type, args=args, id_is_new=True, **fields)
        # To set 17 attributes of a frozen class takes 1.7 us, a tenth of an enqueue in a batch of 100. This
        # takes 0.4: what an object lacks its class has, with the default (which is why it has no slots).
        made = object.__new__(cls)
        made.__dict__.update(job_id=new_job_id(), job_type=job_type, args=args, id_is_new=True)
        return made

    def with_job_type(self, job_type: str) -> Self:
        """Copy the message for another queue."""
        return replace(self, job_type=job_type)


@dataclass(frozen=True, slots=True)
class DependencyResult:
    """How a dependency stands; `result` is what its finisher gave (None: nothing)."""

    job_id: UUID
    state: JobState
    result: Any = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What is known of a job. Times are aware UTC datetimes by the database's clock."""

    job_id: UUID
    job_type: str
    channel: str
    state: JobState
    queued: datetime
    """When it was enqueued."""
    started: datetime | None = None
    """When it was last handed out; None if it is waiting to be, for the first time."""
    finished: datetime | None = None
    """When it reached its end state."""
    canceled: bool = False
    result: Any = None
    """What finish or ack stored; None before, and when nothing was."""
    reason: str | None = None
    """Why it ended so: 'dead: ...', the error text, the dependency that was not met."""
    attempt: int = 0
    """How often it was handed out."""
    max_attempts: int = 0
    priority: int = 0
    """This and `max_attempts` are 0 once it has succeeded: its record is kept small."""
    run_at: datetime | None = None
    """Of a live job."""
    depends_on: tuple[UUID, ...] = ()
    """In the order given at enqueue."""
    dependents: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Why:
    """Why a job is not running: everything that stands in its way, in one answer."""

    job_id: UUID
    state: JobState
    unmet: tuple[DependencyResult, ...] = ()
    """The dependencies it still waits for (at most 1,000 are listed)."""
    never: tuple[DependencyResult, ...] = ()
    """Those that have ended so that its policy can never be met (`on_unmet="hold"`)."""
    run_at: datetime | None = None
    """Set while it waits for that time."""
    paused: bool = False
    """Its queue is paused."""
    holder: str | None = None
    """Who holds the lease (the name of the worker's JobQueue)."""
    leased_until: datetime | None = None
    reason: str | None = None
    """Of a finished job: why it ended so."""
    ahead: int | None = None
    """Of a ready job: how many ready jobs of its queue come before it (counted up to 10,000)."""

    def __str__(self) -> str:
        """Say it in one line."""
        parts = [f"{self.job_id} is {self.state}"]
        if self.unmet:
            parts.append(f"waits for {len(self.unmet)} dependencies, first {self.unmet[0].job_id}")
        if self.never:
            parts.append(f"can never run: {self.never[0].job_id} is {self.never[0].state}")
        if self.run_at is not None:
            parts.append(f"due at {self.run_at.isoformat()}")
        if self.paused:
            parts.append("its queue is paused")
        if self.holder is not None:
            parts.append(f"held by {self.holder} until {self.leased_until}")
        if self.ahead is not None:
            parts.append(f"{self.ahead} jobs come before it")
        if self.reason:
            parts.append(self.reason)
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """A queue and how many jobs it holds; each count stops at 10,001, which means "more than 10,000"."""

    name: str
    channel: str
    paused: bool
    ready: int
    leased: int
    scheduled: int
    blocked: int
    dead: int = 0
    """Of the 10,001 latest jobs, in all queues, that have ended otherwise than succeeded."""
    oldest_ready_age: float | None = field(default=None, compare=False)
    """Seconds since the ready job that has waited longest was enqueued, or was due; None: no job is ready."""


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job in a list. Times are aware UTC datetimes by the database's clock."""

    job_id: UUID
    job_type: str
    channel: str
    state: JobState
    queued: datetime
    attempt: int = 0
    run_at: datetime | None = None
    """Of a live job."""
    started: datetime | None = None
    finished: datetime | None = None
    reason: str | None = None
    """Why it ended so."""
    dead: bool = False
    """It failed because no attempt was left, was rejected, or was lost with its worker."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page of a list of jobs: perhaps fewer than were asked for, or none, though others come after."""

    jobs: tuple[JobInfo, ...]
    next: UUID | None
    """Where the next page begins: give it as `after`. None: this was the last."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A registered worker, or a JobQueue that consumes. Times as in `JobStatus`."""

    worker_id: UUID
    name: str
    channel: str
    info: Mapping[str, Any]
    started: datetime
    last_seen: datetime
