"""kombu-depqueue: a job queue with dependencies in a SQL database, and a broker for Celery.

What `__all__` names is public; everything else may change. The names are imported
when first used: Kombu imports this package in every Celery process to learn of the
`depqueue` transport, and must not pay for SQLAlchemy where it is not used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kombu_depqueue import _register as _register
from kombu_depqueue._version import __version__

if TYPE_CHECKING:
    from kombu_depqueue.embedding import metadata
    from kombu_depqueue.enlisting import enlist
    from kombu_depqueue.errors import (
        Canceled,
        DepQueueError,
        Duplicate,
        Empty,
        InvalidJob,
        LeaseLost,
        NotExist,
        NotPending,
        NotRunning,
        QueueClosed,
        QueueFull,
        SchemaError,
        StorageError,
    )
    from kombu_depqueue.job import (
        Dependency,
        DependencyResult,
        JobInfo,
        JobMessage,
        JobPage,
        JobState,
        JobStatus,
        OnUnmet,
        Policy,
        QueueInfo,
        Why,
        WorkerInfo,
        new_job_id,
    )
    from kombu_depqueue.queue import JobQueue, create_tables
    from kombu_depqueue.reservation import Reservation
    from kombu_depqueue.worker import Worker

_HOMES = {
    "errors": "Canceled DepQueueError Duplicate Empty InvalidJob LeaseLost NotExist NotPending NotRunning "
    "QueueClosed QueueFull SchemaError StorageError",
    "job": "Dependency DependencyResult JobInfo JobMessage JobPage JobState JobStatus OnUnmet Policy QueueInfo Why "
    "WorkerInfo new_job_id",
    "embedding": "metadata",
    "enlisting": "enlist",
    "queue": "JobQueue create_tables",
    "reservation": "Reservation",
    "worker": "Worker",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Canceled",
    "DepQueueError",
    "Dependency",
    "DependencyResult",
    "Duplicate",
    "Empty",
    "InvalidJob",
    "JobInfo",
    "JobMessage",
    "JobPage",
    "JobQueue",
    "JobState",
    "JobStatus",
    "LeaseLost",
    "NotExist",
    "NotPending",
    "NotRunning",
    "OnUnmet",
    "Policy",
    "QueueClosed",
    "QueueFull",
    "QueueInfo",
    "Reservation",
    "SchemaError",
    "StorageError",
    "Why",
    "Worker",
    "WorkerInfo",
    "__version__",
    "create_tables",
    "enlist",
    "metadata",
    "new_job_id",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
