"""What runs in processes of its own while servers die: publishers and workers, native and Celery's.

Each says one line for each thing that it knows for sure, with the moment (the monotonic clock is the machine's):
what was invoked and never answered is told by the lack of a line.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from celery import Celery, signals
from kombu.exceptions import OperationalError

from kombu_depqueue import Canceled, Duplicate, Empty, JobMessage, JobQueue, LeaseLost, StorageError
from kombu_depqueue.testing.helpers import hear, say

QUEUE, TASKS = "flow", "tasks"
PAUSE = 0.003
"""Seconds between two publishes: the machine is to be alive, not full."""


def _until_told() -> threading.Event:
    """Set when the parent says something."""
    told = threading.Event()
    threading.Thread(target=lambda: (hear(), told.set()), daemon=True).start()
    return told


def _insist(job_id: str, publish: Callable[[], object]) -> None:
    """Publish until it is sure; say how often it failed, how often that was uncertain, and whether it had committed."""
    errors = uncertain = 0
    for _ in range(1000):
        had = False
        try:
            publish()
        except Duplicate:
            had = True
        except (StorageError, OperationalError) as error:
            errors += 1
            uncertain += bool(getattr(error, "maybe_committed", False))
            time.sleep(0.05)
            continue
        facts = {"errors": errors, "uncertain": uncertain, "had": had}
        say({"did": "published", "id": job_id, "at": time.monotonic(), **facts})
        return
    raise AssertionError(f"{errors} errors")


def publish_natively(url: str, options: dict[str, Any]) -> None:
    """Enqueue one by one, by ids of its own, until told to stop."""
    logging.disable(logging.WARNING)
    stop = _until_told()
    with JobQueue(url, **options) as queue:
        while not stop.is_set():
            message = JobMessage(uuid4(), job_type=QUEUE)
            _insist(str(message.job_id), lambda message=message: queue.enqueue(message))
            time.sleep(PAUSE)
    say({"did": "end"})


def publish_by_celery(broker: str) -> None:
    """Send tasks one by one until told to stop; Kombu and the library try again by themselves."""
    logging.disable(logging.WARNING)
    stop = _until_told()
    app = Celery("availability", broker=broker, set_as_current=False)
    app.conf.task_ignore_result = True
    while not stop.is_set():
        job_id = str(uuid4())
        options = {"task_id": job_id, "queue": TASKS, "retry": False}
        _insist(job_id, lambda options=options: app.send_task("availability.note", (), {}, **options))
        time.sleep(PAUSE)
    say({"did": "end"})


def work_natively(url: str, options: dict[str, Any]) -> None:
    """Reserve and ack one by one until told to stop, and then until nothing is left."""
    logging.disable(logging.WARNING)
    stop = _until_told()
    with JobQueue(url, **options) as queue:
        while True:
            try:
                job = queue.reserve(0.5, queues=[QUEUE])
            except Empty:
                if stop.is_set():
                    break
                continue
            except StorageError:
                continue
            say({"did": "reserved", "id": str(job.job_id), "at": time.monotonic(), "attempt": job.attempt})
            say({"did": _acked(job.ack), "id": str(job.job_id), "at": time.monotonic()})
    say({"did": "end"})


def _acked(ack: Callable[[], object]) -> str:
    while True:
        try:
            ack()
        except StorageError:
            time.sleep(0.05)
        except (LeaseLost, Canceled):
            return "refused"
        else:
            return "acked"


def work_by_celery(broker: str, *args: str) -> None:
    """A Celery worker, which says what it is given; ended by a signal."""
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Celery itself has things to say

    def tell(did: str, **more: Any) -> None:
        told.write(json.dumps({"did": did, "at": time.monotonic(), **more}) + "\n")
        told.flush()

    app = Celery("availability", broker=broker, set_as_current=False)
    app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True, worker_redirect_stdouts=False)
    app.conf.task_default_queue = TASKS

    @app.task(name="availability.note", bind=True)
    def note(self: Any) -> None:
        tell("ran", id=self.request.id)

    signals.worker_ready.connect(lambda **_: tell("ready"), weak=False)
    app.worker_main(["--quiet", "worker", "-P", "solo", "-l", "WARNING", "-Q", TASKS, "--without-mingle", *args])
