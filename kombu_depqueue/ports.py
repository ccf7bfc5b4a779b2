"""The ports: what a job queue promises. Newcomers start here.

Every line below has a test in `kombu_depqueue.testing.conformance`, which runs
on every database. `kombu_depqueue.JobQueue` implements `JobQueue`.

Two classic job-queue ports are the origin. The *lease port*: a producer
enqueues a message with an id and a time; a consumer reserves, and then acks or
requeues. The *dependency port*: a job may depend on others; workers dequeue by
job type, finish, cancel, ask for the status. Here they are two views of one
model: a job sits in the queue named by its `job_type`, and `dequeue` is
`reserve` over several queues and channels.

Common to all operations
- They may be called from any thread; a JobQueue used after `os.fork()` starts
  afresh in the child, without the parent's reservations.
- Times are aware datetimes, compared with the database's clock; durations are seconds.
- Bad input raises `InvalidJob` before anything is written.
- The database failing, or being frozen, raises `StorageError`, at the latest after `deadline` seconds.
- When an operation that writes has returned, its effect is committed (or part
  of the caller's transaction, where a `connection` was given).
- What a synchronous standby has not confirmed is never told as done, though the server does so when its wait for the
  standby is canceled: it is tried again until it is sure, else `StorageError.maybe_committed`; a call that is repeated
  (`Duplicate`, an ack) is answered only when the standby has what the first one did.
- A caller's transaction must see what others have committed since it began, where that decides (dependencies, ids that
  are given, the end of a job): `InvalidJob` for another isolation level than READ COMMITTED, on databases with levels.
- Within `with enlist(connection):` what is enqueued, acked and finished is part of that transaction, as if
  `connection` were given; within `async with enlist(...)` what is enqueued, inserted at the end of the block.
- With the option `signing_keys` what is enqueued is signed, and what was forged or changed in the database since is
  never handed out: it is dead, with the reason `bad-signature` (docs/security.md says what that covers).
- What is larger than `max_body_bytes` is refused by enqueue, and by a claim never fetched: it is dead.
- At least once: what was enqueued is delivered until it is acked, whatever dies;
  a second delivery happens only after a lease has expired or was given back (a power cut, or a failover to a standby,
  takes back claims of the last moments before it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar, overload, runtime_checkable
from uuid import UUID

from kombu_depqueue.job import (
    Dependency,
    DependencyResult,
    JobMessage,
    JobPage,
    JobStatus,
    OnUnmet,
    Policy,
    QueueInfo,
    Why,
    WorkerInfo,
)

__all__ = ["JobConsumer", "JobProducer", "JobQueue", "Reservation"]

JobId = UUID | str


class JobProducer(Protocol):
    """Puts jobs into queues."""

    @overload
    def enqueue(self, job: JobMessage, /, *, connection: Any = None) -> UUID: ...
    @overload
    def enqueue(
        self,
        job_type: str = "",
        args: Any = None,
        /,
        *,
        depends_on: Sequence[JobId | Dependency] = (),
        run_at: datetime | None = None,
        delay: float | None = None,
        priority: int = 0,
        job_id: JobId | None = None,
        max_attempts: int | None = None,
        channel: str = "",
        expires_in: float | None = None,
        dependency_policy: Policy | str | None = None,
        on_unmet: OnUnmet | str | None = None,
        body: bytes | None = None,
        content_type: str | None = None,
        headers: Mapping[str, Any] | None = None,
        connection: Any = None,
    ) -> UUID: ...
    def enqueue(self, job: Any = "", args: Any = None, /, **fields: Any) -> UUID:
        """Enqueue one job and return its id.

        Does not block but for the database. When it returns the job is committed;
        when it raises there is no job, or (`StorageError.maybe_committed`) exactly one:
        repeated with the same `job_id` it is never two.
        With `connection` (a SQLAlchemy Connection or Session on the same database) the
        job is part of the caller's transaction, and seen by consumers at its commit. Until then its
        dependencies are locked: who acks them, or enqueues on them, waits. Keep such transactions short.
        The fields are those of `JobMessage`.
        Each dependency must be live or its end record still be kept. One named twice
        counts once. If one has already ended so that the policy cannot be met, the
        job is canceled at once (or held), as if it had ended later.

        Raises: InvalidJob; NotExist naming the unknown dependencies; Duplicate if
        `job_id` is live or its end record is still kept; QueueFull (see `JobQueue.limit`).
        """
        ...

    def enqueue_many(self, jobs: Iterable[JobMessage], /, *, connection: Any = None) -> int:
        """Enqueue several jobs and return how many.

        A list or tuple is all or nothing, in one transaction and, without dependencies,
        one round trip up to 500 jobs. Any other iterable is read as it is written, in
        transactions of 1,000, so that a million jobs need no memory; what was written
        when it raises stays (`enqueued` on the error says how many).
        A job may depend on jobs before it in the same call.

        Raises: as enqueue.
        """
        ...


@runtime_checkable
class Reservation(Protocol):
    """A job handed out, and the right to settle it: proved by its lease token.

    Its lease is renewed in the background while the JobQueue that reserved it
    lives, however long the work takes; a third of the lease time is left at
    least when it is handed out, however late that thread is. Settling (ack, requeue, reject, fail)
    ends it; repeated on a settled reservation it does nothing. Settling an
    expired one is accepted as long as nobody else has been given the job.
    """

    @property
    def message(self) -> JobMessage:
        """The job as it was enqueued. Raises InvalidJob if the stored row cannot be decoded."""
        ...

    @property
    def job_id(self) -> UUID:
        """The job's id."""
        ...

    @property
    def job_type(self) -> str:
        """The queue it came from."""
        ...

    @property
    def args(self) -> Any:
        """The JSON value it was enqueued with. Raises InvalidJob if it is not JSON."""
        ...

    @property
    def depends_on(self) -> tuple[UUID, ...]:
        """Its dependencies in the order given."""
        ...

    @property
    def token(self) -> str:
        """The lease token: new for every hand-out, unguessable, usable from any process."""
        ...

    @property
    def attempt(self) -> int:
        """How often the job has been handed out, this time included: 1 the first time."""
        ...

    @property
    def redelivered(self) -> bool:
        """Whether a lease on it expired or was given back before."""
        ...

    def ack(self, result: Any = None, *, connection: Any = None) -> None:
        """End the job as succeeded and release its dependents, in one transaction.

        `result` is any JSON value; it is kept for dependents and `status`. With
        `connection` all of it is part of the caller's transaction.
        Raises: LeaseLost; Canceled; InvalidJob if JSON cannot hold the result (the job stays running).
        """
        ...

    def requeue(self, delay: float = 0.0) -> None:
        """Give the job back: at once at its old place, or after `delay` seconds.

        One step: no crash can lose the job. With its attempts used up it is dead instead; in a queue that Kombu
        declared with a dead-letter exchange it goes on where that leads, as what expires there does.
        Raises: LeaseLost; Canceled; InvalidJob for a negative or infinite delay.
        """
        ...

    def fail(self, error: str = "", result: Any = None) -> None:
        """End the job as failed. Raises as ack."""
        ...

    def reject(self, reason: str = "rejected") -> None:
        """End the job as dead at once, however many attempts it has left. Raises as ack."""
        ...

    def extend(self, seconds: float) -> None:
        """Let the lease last at least `seconds` from now, even if this process dies meanwhile. Raises LeaseLost."""
        ...

    def results_of_dependencies(self) -> list[DependencyResult]:
        """The results of its dependencies, in the order given."""
        ...


R = TypeVar("R", bound=Reservation)


class JobConsumer(Protocol):
    """Takes jobs out of queues, one lease each."""

    def reserve(
        self, timeout: float | None = None, *, queues: Sequence[str] | None = None, renew: bool = True
    ) -> Reservation:
        """Reserve the next ready job of the default queue (or of `queues`, the oldest first).

        Waits up to `timeout` seconds (None: for ever; 0: not at all) and never gives up earlier.
        FIFO within a queue and priority. A job is in no two live reservations, is not handed
        out before its `run_at`, nor before its dependencies have ended.
        `renew=False`: the lease is not renewed in the background; whoever has the token
        keeps it with `refresh_heartbeat`, else it expires after the lease time.
        While claims from the head of the queue are slow (`cursor.py`), jobs that another process has
        given back or lost, or committed long after it inserted them, are found by a look each 5 s.
        Raises: Empty; QueueClosed if the JobQueue is closed while it waits.
        """
        ...

    def reserve_many(
        self,
        limit: int,
        timeout: float | None = None,
        *,
        queues: Sequence[str] | None = None,
        channels: Sequence[str] = ("",),
        renew: bool = True,
    ) -> Sequence[Reservation]:
        """Reserve up to `limit` ready jobs in one round trip; waits only for the first. Raises as reserve."""
        ...

    def ack_many(self, reservations: Iterable[R], /) -> list[R]:
        """Ack several, without results, in one transaction; returns those whose lease was lost."""
        ...


class JobQueue(JobProducer, JobConsumer, Protocol):
    """Both ports, and what operators need."""

    def dequeue(
        self,
        job_types: Sequence[str],
        timeout: float | None = None,
        *,
        channels: Sequence[str] = ("",),
        renew: bool = True,
    ) -> Reservation:
        """Reserve the next ready job of one of the types and channels. As reserve."""
        ...

    def dequeue_by_id(self, job_id: JobId, *, renew: bool = True) -> Reservation:
        """Reserve this very job, whatever its channel. Does not wait.

        Raises: NotExist; NotPending if it is not ready (blocked, scheduled, leased, paused or finished), or must
        not be handed out (expired, too large, `bad-signature`: it has ended then).
        """
        ...

    def finish(self, job_id: JobId, result: Any = None, *, token: str | None = None, connection: Any = None) -> None:
        """End a running job as succeeded and release its dependents, as `Reservation.ack` does.

        With `token`, or if this JobQueue holds the job's reservation, fenced by it;
        else whoever holds the lease is overruled.
        Raises: NotExist; Canceled; NotRunning if not started or already finished; LeaseLost;
        InvalidJob if JSON cannot hold the result (the job stays running).
        """
        ...

    def fail_job(self, job_id: JobId, error: str = "", result: Any = None, *, token: str | None = None) -> None:
        """End a running job as failed. Raises as finish."""
        ...

    def requeue_or_finish(
        self, job_id: JobId, max_retries: int, result: Any = None, *, token: str | None = None
    ) -> bool:
        """Give a running job back for another try; once it was retried `max_retries` times, end it as failed.

        For jobs whose worker was lost. Returns whether it was requeued. Raises as finish.
        """
        ...

    def cancel(self, job_id: JobId) -> bool:
        """Cancel a job: waiting or running. Returns whether this call did it.

        A finished or canceled job is left as it is. Never delivered afterwards; whoever
        runs it finds out when settling (`Canceled`). Its dependents follow their policy.
        Raises: NotExist.
        """
        ...

    def status(self, job_id: JobId) -> JobStatus:
        """What is known of the job. Raises NotExist."""
        ...

    def results_of_dependencies(self, job_id: JobId) -> list[DependencyResult]:
        """How its dependencies stand, with their results, in the order given. Raises NotExist."""
        ...

    def why(self, job_id: JobId) -> Why:
        """Everything that keeps the job from running. Raises NotExist."""
        ...

    def retry(self, job_id: JobId, *, subtree: bool = False) -> int:
        """Make a failed, dead, canceled or expired job pending again, attempts counted anew.

        `subtree` also re-opens the jobs that were canceled because of it, and theirs.
        Returns how many jobs were re-opened. Raises: NotExist; NotPending if it is live or succeeded.
        """
        ...

    def heartbeats(self, older_than: float) -> list[str]:
        """Tokens of the leases not renewed for `older_than` seconds (0: all)."""
        ...

    def refresh_heartbeat(self, token: str) -> None:
        """Renew the lease behind a token for the lease time from now.

        From then on the lease stands by itself: it expires unless refreshed again.
        Raises: LeaseLost; InvalidJob if it is no token.
        """
        ...

    def job_id_of(self, token: str) -> UUID:
        """The job behind a current token. Raises LeaseLost."""
        ...

    def all_root_jobs(self) -> list[UUID]:
        """The ids of all jobs, live or kept, that no other job depends on."""
        ...

    def delete_job(self, job_id: JobId) -> int:
        """Delete a root job and those of its dependencies that nobody else needs, recursively.

        Returns how many were deleted. Raises: NotExist; NotPending if another job depends on it.
        """
        ...

    def jobs(
        self,
        state: str | None = None,
        *,
        queue: str | None = None,
        channel: str | None = None,
        after: JobId | None = None,
        limit: int = 100,
    ) -> JobPage:
        """List jobs, live and ended, by their ids from big to small: the latest first, where ids tell the time.

        `state` is one of `JobState`, or "dead" (failed jobs that were rejected, had no attempt left, or were lost).
        A page has at most `limit` (1 to 10,000) jobs and looks at some 10,000 of those that come after `after`: one
        that is filtered can be empty though others follow (`JobPage.next`). What moves from state to state meanwhile
        may be missing in a page. Celery's ids are random, and so is their order.
        Raises: InvalidJob.
        """
        ...

    def message_of(self, job_id: JobId) -> JobMessage | None:
        """The type, arguments (or body) and headers of a job as it was enqueued; None once it has succeeded.

        Raises: NotExist; InvalidJob if the stored row cannot be decoded.
        """
        ...

    def queues(self) -> list[QueueInfo]:
        """All queues with bounded counts, by name."""
        ...

    def pause(self, queue: str, *, channel: str = "") -> None:
        """Hand out no more jobs of this queue, anywhere, until `resume`; survives restarts."""
        ...

    def resume(self, queue: str, *, channel: str = "") -> None:
        """End `pause`."""
        ...

    def limit(
        self, queue: str, *, max_length: int | None = None, max_body_bytes: int | None = None, channel: str = ""
    ) -> None:
        """Say how many jobs a queue may hold (all that have not ended), and how big a payload may be (with headers).

        None: as many, as big as they like. In place of the limits that it had; for all processes, within 5 seconds.
        An enqueue beyond them raises QueueFull (nothing of that call is written), or InvalidJob if the payload is too
        big. What producers enqueue at the same moment may go beyond `max_length`, as the count is no lock. Celery's
        retries, and jobs that are given back or retried, are there already and always go in. A dead letter goes in.
        """
        ...

    def limits(self, queue: str, *, channel: str = "") -> tuple[int | None, int | None]:
        """The `max_length` and `max_body_bytes` of a queue; None: it has no such limit."""
        ...

    def purge(self, queue: str, *, channel: str = "") -> int:
        """Cancel all pending jobs of a queue and return how many; leased ones are left alone."""
        ...

    def register_worker(self, name: str = "", *, channel: str = "", info: Mapping[str, Any] | None = None) -> UUID:
        """Note a worker in the registry and return its id."""
        ...

    def refresh_worker(self, worker_id: JobId) -> None:
        """Note that a worker lives. Raises NotExist."""
        ...

    def workers(self, older_than: float = 0.0) -> list[WorkerInfo]:
        """The workers (and consuming JobQueues) not seen for `older_than` seconds."""
        ...

    def delete_worker(self, worker_id: JobId) -> None:
        """Forget a worker. Raises NotExist."""
        ...

    def maintain(self) -> None:
        """Do one bounded round of upkeep: expired leases, due jobs, releases left over, pruning.

        Consumers do it by themselves; for programs that only produce, and for tests.
        """
        ...

    def prunable(self) -> int:
        """How many records of ended jobs `maintain` would delete in its next rounds, counted up to 10,001."""
        ...

    def close(self) -> None:
        """Give all reservations back at once and close; whoever waits gets QueueClosed. Twice is fine."""
        ...
