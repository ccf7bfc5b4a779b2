"""The Celery application of the cells: `celery -A celery_app worker`."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task
from history import History

__all__ = ["app", "make_app"]

_history: History | None = None


def history() -> History:
    """This process's file: a pool's child has one of its own."""
    global _history
    if _history is None or not _history.is_mine:
        _history = History(Path(os.environ["CHAOS_FOLDER"]), "celery")
    return _history


def work(self: Task, job_id: str) -> None:
    """Say that it runs, and when it has run."""
    info = self.request.delivery_info or {}
    op = history().invoke("run", id=job_id, redelivered=int(bool(info.get("redelivered"))))
    time.sleep(random.choice((0, 0, 0, 0.02)))
    op.ok()


def make_app(broker: str) -> Any:
    """The application, for a worker or a producer."""
    made = Celery("chaos", broker=broker, set_as_current=False)
    made.conf.update(
        broker_connection_retry_on_startup=True,
        task_acks_late=True,
        task_ignore_result=True,
        worker_enable_remote_control=False,
        worker_prefetch_multiplier=4,
        broker_transport_options={"max_retries": 0},
    )
    made.task(name="t.work", bind=True)(work)
    return made


def watch(cell: int) -> None:
    """End this worker with its children when the cell is gone."""
    while os.getppid() == cell:
        time.sleep(2)
    os.killpg(0, signal.SIGKILL)


if "CHAOS_BROKER" in os.environ:
    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()
    app = make_app(os.environ["CHAOS_BROKER"])
