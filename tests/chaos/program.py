"""What the processes of a cell have in common."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from history import History, Operation
from sqlalchemy import Column, Engine, MetaData, String, Table, create_engine, make_url
from sqlalchemy.pool import NullPool

from kombu_depqueue import Canceled, JobQueue, LeaseLost, NotExist, NotRunning, QueueClosed, StorageError

__all__ = ["CELERY", "DOOMED", "QUEUES", "Program", "Task", "business_table", "engine_of"]

QUEUES = ("work", "more")
DOOMED = "doomed"
"""A queue that is purged now and then."""
CELERY = "celery"


@dataclass(frozen=True)
class Task:
    """What a process is to do."""

    url: str
    folder: str
    seed: str
    engine_url: str
    """Of the application's own engine on the same database."""
    schema: str | None = None
    prefix: str = ""
    broker: str | None = None
    """For Celery, where it takes part."""
    rate: float = 30.0
    """Jobs a second that a publisher tries to publish."""
    lease: float = 3.0
    delays: float = 0.3
    """Share of the jobs that are delayed."""
    plain: bool = False
    """Nothing but jobs that are ready at once: for what is about their order."""
    calm: bool = False
    """Only ack what there is: the end of the cell."""
    options: dict[str, Any] = field(default_factory=dict)


class Program:
    """What all have in common."""

    def __init__(self, name: str, task: Task) -> None:
        self.task = task
        self.chance = random.Random(f"{task.seed}-{name}-{os.getpid()}")
        self.history = History(Path(task.folder), name)
        self.stopping = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self.stopping.set())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        cell = multiprocessing.parent_process()
        while cell is None or cell.is_alive():
            time.sleep(2)
        os._exit(3)

    def queue(self, **options: Any) -> JobQueue:
        """A JobQueue as the cell wants it."""
        return JobQueue(self.task.url, lease=self.task.lease, **{**self.task.options, **options})

    def settle(self, op: Operation, call: Callable[[], object]) -> str:
        """Do it, and write down how it went: "ok", "lost" or "info"."""
        try:
            call()
        except (LeaseLost, Canceled, NotRunning, NotExist) as error:
            op.fail(error=type(error).__name__)
            return "lost"
        except (StorageError, QueueClosed) as error:
            op.info(error=str(error)[:200])
            return "info"
        op.ok()
        return "ok"


def business_table(task: Task) -> Table:
    """An application's own table beside the jobs."""
    name = f"{task.prefix}business" if task.prefix else "business"
    return Table(name, MetaData(schema=task.schema), Column("id", String(36), primary_key=True))


def engine_of(url: str) -> Engine:
    """An application's own engine."""
    options: dict[str, Any] = (
        {"isolation_level": "READ COMMITTED"} if make_url(url).get_backend_name() == "mysql" else {}
    )
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": 20}
    return create_engine(url, poolclass=NullPool, **options)
