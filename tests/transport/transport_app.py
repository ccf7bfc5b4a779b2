"""The Celery application of the tests: `celery -A transport_app worker`, told everything by the environment.

No import of kombu_depqueue: an unchanged application is what is tested. Tasks write what happens to them
into a file (see `Facts`), so that tests need no result to know it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery import Celery, Task, signals
from celery.exceptions import Reject, SoftTimeLimitExceeded
from kombu import Queue
from kombu.common import Broadcast

DEFAULTS = {
    "broker_connection_retry_on_startup": True,
    "broker_connection_timeout": 10,
    "result_expires": 600,
    "worker_hijack_root_logger": True,
    "worker_enable_remote_control": True,
}


def make_app(broker: str, backend: str, conf: dict[str, Any]) -> Celery:
    """The application, with all tasks, for a worker or for a producer."""
    app = Celery("transport_app", broker=broker, backend=backend, set_as_current=False)
    app.conf.update({**DEFAULTS, **conf})
    for function, options in TASKS:
        app.task(name=f"t.{function.__name__}", **options)(function)
    return app


def write(**fact: Any) -> None:
    """Append one line to the file of facts, in one write."""
    line = json.dumps({"pid": os.getpid(), "ppid": os.getppid(), "at": time.time(), **fact}) + "\n"
    file = os.open(os.environ["DQ_FACTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def add(x: Any, y: Any) -> Any:
    return x + y


def total(numbers: list[int]) -> int:
    return sum(numbers)


def note(self: Task, label: Any = None, seconds: float = 0.0) -> Any:
    """Say that it began, work (not if it is delivered again), say that it ended."""
    info = self.request.delivery_info or {}
    write(what="start", id=self.request.id, label=label, info=info, retries=self.request.retries)
    time.sleep(0 if info.get("redelivered") else seconds)
    write(what="end", id=self.request.id, label=label)
    return label


def late_note(self: Task, label: Any, seconds: float = 0.0) -> Any:
    """The same, acked when it has ended."""
    return note(self, label, seconds)


def hold(self: Task, label: Any) -> Any:
    """Say that it began, work until it is let go (not if it is delivered again), say that it ended."""
    info = self.request.delivery_info or {}
    write(what="start", id=self.request.id, label=label, info=info)
    go, until = Path(os.environ["DQ_FACTS"]).with_name(f"go-{label}"), time.monotonic() + 120
    while not (info.get("redelivered") or go.exists() or time.monotonic() > until):
        time.sleep(0.05)
    write(what="end", id=self.request.id, label=label)
    return label


def header(self: Task, name: str) -> Any:
    """What a header of the message says."""
    return (self.request.headers or {}).get(name)


def fail(self: Task, message: str = "wanted") -> None:
    write(what="start", id=self.request.id, label="fail")
    raise ValueError(message)


def again(self: Task, times: int, countdown: float) -> int:
    """Retry `times` times."""
    write(what="start", id=self.request.id, label=self.request.retries)
    if self.request.retries < times:
        raise self.retry(countdown=countdown, max_retries=times + 1)
    return int(self.request.retries)


def shaky(self: Task, times: int) -> int:
    """Fail `times` times; Celery retries by itself."""
    write(what="start", id=self.request.id, label=self.request.retries)
    if self.request.retries < times:
        raise ConnectionResetError("shaky")
    return int(self.request.retries)


def refuse(self: Task, requeue: bool, times: int = 1) -> str:
    """Reject until it was begun more than `times` times."""
    before = [f for f in read_facts() if f.get("id") == self.request.id and f["what"] == "start"]
    write(what="start", id=self.request.id, label=len(before), info=self.request.delivery_info)
    if len(before) < times:
        raise Reject("not now", requeue=requeue)
    return "done"


def stored_then_refused(self: Task) -> None:
    """Succeed, as the result says, and go back to the queue all the same, as when its worker dies before the ack."""
    write(what="start", id=self.request.id)
    self.backend.mark_as_done(self.request.id, 1, self.request)
    raise Reject("lost", requeue=True)


def softly(self: Task, seconds: float) -> str:
    """Tell of a soft time limit."""
    write(what="start", id=self.request.id)
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        return "soft"
    return "slept"


def vanish(self: Task) -> str:
    """Kill the process that runs it, the first time."""
    before = [f for f in read_facts() if f.get("id") == self.request.id and f["what"] == "start"]
    write(what="start", id=self.request.id, info=self.request.delivery_info)
    if not before:
        os.kill(os.getpid(), 9)
    return "survived"


def die(self: Task) -> None:
    """Kill the process that runs it, each time."""
    write(what="start", id=self.request.id)
    os.kill(os.getpid(), 9)


def exits(self: Task) -> None:
    """End the process that runs it, each time."""
    write(what="start", id=self.request.id)
    sys.exit(1)


def devour(self: Task) -> None:
    """Take more memory than there is."""
    write(what="start", id=self.request.id)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, hard))
    _ = [bytes(1 << 26) for _ in range(1000)]


def stamps(self: Task, *_: Any) -> Any:
    """With what it was stamped."""
    write(what="start", id=self.request.id)
    return self.request.stamps


def replaced_by(self: Task, by: dict[str, Any]) -> Any:
    """Be replaced by another task."""
    raise self.replace(self.app.signature(by))


def grow(self: Task, n: int) -> Any:
    """Be replaced by a chain of additions."""
    raise self.replace(self.app.signature("t.add", (n, 1)) | self.app.signature("t.add", (1,)))


TASKS: list[tuple[Any, dict[str, Any]]] = [
    (add, {}),
    (total, {}),
    (note, {"bind": True}),
    (late_note, {"bind": True, "acks_late": True}),
    (hold, {"bind": True}),
    (header, {"bind": True}),
    (fail, {"bind": True}),
    (again, {"bind": True, "max_retries": None}),
    (shaky, {"bind": True, "autoretry_for": (ConnectionResetError,), "default_retry_delay": 0.3, "max_retries": 5}),
    (refuse, {"bind": True, "acks_late": True}),
    (stored_then_refused, {"bind": True, "acks_late": True}),
    (softly, {"bind": True}),
    (vanish, {"bind": True, "acks_late": True, "reject_on_worker_lost": True}),
    (die, {"bind": True, "acks_late": True}),
    (exits, {"bind": True, "acks_late": True}),
    (devour, {"bind": True, "acks_late": True}),
    (stamps, {"bind": True}),
    (replaced_by, {"bind": True}),
    (grow, {"bind": True}),
]


def read_facts() -> list[dict[str, Any]]:
    """What was written so far."""
    try:
        with open(os.environ["DQ_FACTS"], encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]
    except FileNotFoundError:
        return []


@signals.worker_ready.connect
def _ready(sender: Any = None, **kwargs: Any) -> None:
    write(what="ready", worker=str(getattr(sender, "hostname", sender)))


@signals.worker_process_init.connect
def _child(**kwargs: Any) -> None:
    write(what="child")


if "DQ_BROKER" in os.environ:
    app = make_app(os.environ["DQ_BROKER"], os.environ["DQ_BACKEND"], json.loads(os.environ.get("DQ_CONF", "{}")))
    if "DQ_BROADCAST" in os.environ:
        app.conf.task_queues = (Queue("celery"), Broadcast("news"))
    if "DQ_ALIAS" in os.environ:
        app.conf.task_queues = [Queue("real", alias="alias"), Queue("celery")]
    if "DQ_BEAT" in os.environ:
        every = timedelta(seconds=float(os.environ["DQ_BEAT"]))
        app.conf.beat_schedule = {"tick": {"task": "t.note", "schedule": every, "args": ("tick",)}}
