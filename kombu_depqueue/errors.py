"""Every error a caller can meet, as one tree.

DepQueueError
├── Empty                nothing to reserve in time
├── NotExist             no job of that id
├── NotRunning           the job is not being run
├── NotPending           the job is not waiting to be run
├── Canceled             the job was canceled
├── Duplicate            the id is taken
├── LeaseLost            the reservation is not (or no longer) yours
├── QueueFull            the queue has as many jobs as it may have
├── InvalidJob           what was given cannot be a job (also a ValueError)
├── QueueClosed          the JobQueue was closed
├── SchemaError          the tables are missing, too old or too new
└── StorageError         the database failed or did not answer in time

Facts are attributes, so that a program need not parse a message; a driver's
error is chained as `__cause__`. Messages never hold a payload or a password.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

__all__ = [
    "Canceled",
    "DepQueueError",
    "Duplicate",
    "Empty",
    "InvalidJob",
    "LeaseLost",
    "NotExist",
    "NotPending",
    "NotRunning",
    "QueueClosed",
    "QueueFull",
    "SchemaError",
    "StorageError",
]


class DepQueueError(Exception):
    """The root of the tree: catches everything this package raises."""


class Empty(DepQueueError):
    """No job became ready within the timeout."""


class _JobError(DepQueueError):
    """An error about one job, or about several (`job_ids`)."""

    what = "job {ids}"

    def __init__(self, *job_ids: UUID, detail: str = "") -> None:
        self.job_ids = job_ids
        shown = ", ".join(str(i) for i in job_ids[:5]) + (", ..." if len(job_ids) > 5 else "")
        super().__init__(self.what.format(ids=shown) + (f": {detail}" if detail else ""))

    @property
    def job_id(self) -> UUID | None:
        """The first (most often the only) job the error is about."""
        return self.job_ids[0] if self.job_ids else None


class NotExist(_JobError):
    """No job of that id: never enqueued, deleted, or its end record was pruned."""

    what = "no such job: {ids}"


class NotRunning(_JobError):
    """The job cannot be finished: it has not been reserved, or has ended."""

    what = "job {ids} is not running"


class NotPending(_JobError):
    """The job cannot be reserved (or retried): see `detail`."""

    what = "job {ids} is not pending"


class Canceled(_JobError):
    """The job was canceled; nothing was changed."""

    what = "job {ids} was canceled"


class Duplicate(_JobError):
    """A job of that id is live, or its end record is still kept; nothing was written."""

    what = "a job with id {ids} exists already"


class LeaseLost(_JobError):
    """The lease token is not current: the lease expired and the job was handed
    out again, or it was given back or ended; nothing was changed."""

    what = "the lease of job {ids} is lost"


class InvalidJob(DepQueueError, ValueError):
    """What was given cannot be a job; nothing was written.

    `field` names the argument, `problem` says what was got and what is wanted.
    """

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        self.problem = problem
        super().__init__(f"{field}: {problem}")


class QueueClosed(DepQueueError):
    """The JobQueue was closed, perhaps by another thread while this one waited."""


class QueueFull(DepQueueError):
    """The queue has as many jobs as it may have (`JobQueue.limit`); nothing was written. Later there may be room."""

    def __init__(self, queue: str, *, channel: str = "", max_length: int) -> None:
        self.queue = queue
        self.channel = channel
        self.max_length = max_length
        where = f" in channel {channel!r}" if channel else ""
        super().__init__(f"queue {queue!r}{where} is full: its max_length is {max_length:,}")


class SchemaError(DepQueueError):
    """The tables are missing, incomplete, too old or too new for this version.

    `found` is the schema version in the database (None: no tables), `wanted`
    the versions this library works with.
    """

    def __init__(self, problem: str, *, found: int | None, wanted: Iterable[int]) -> None:
        self.found = found
        self.wanted = tuple(wanted)
        super().__init__(problem)


class StorageError(DepQueueError):
    """The database failed, refused, or did not answer within the deadline.

    The driver's error is `__cause__`, without what it quoted of rows. `maybe_committed` tells whether the
    change may have taken place all the same (the connection broke while the
    answer was awaited, or no synchronous standby has confirmed it).
    """

    def __init__(self, problem: str, *, maybe_committed: bool = False) -> None:
        self.maybe_committed = maybe_committed
        super().__init__(problem)
