"""The Celery application of these tests: the transport's, and tasks that depend on others."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject

sys.path.append(str(Path(__file__).resolve().parents[3] / "tests" / "transport"))

if "DQ_WITHOUT_ADAPTER" in os.environ:
    from kombu_depqueue import plugins

    plugins._loaded = True
    plugins._plugins.clear()

from transport_app import make_app, read_facts, write


def work(self: Task, label: Any, seconds: float = 0.0, fail: bool = False, retries: int = 0) -> Any:
    """Say that it began, perhaps retry or fail, say that it ended."""
    info = self.request.delivery_info or {}
    write(what="start", id=self.request.id, label=label, retries=self.request.retries, info=info)
    time.sleep(seconds)
    if self.request.retries < retries:
        raise self.retry(countdown=0.05, max_retries=retries)
    write(what="end", id=self.request.id, label=label)
    if fail:
        raise ValueError(f"{label} fails")
    return label


def fails_once(self: Task, marker: str) -> str:
    """Fail the first time that this marker is seen."""
    before = [f for f in read_facts() if f.get("label") == marker]
    write(what="start", id=self.request.id, label=marker)
    if not before:
        raise ValueError("the first time")
    return "good now"


def late_work(self: Task, *args: Any, **kwargs: Any) -> Any:
    return work(self, *args, **kwargs)


def collect(self: Task, results: Any, label: Any = "body") -> Any:
    """A chord's body."""
    write(what="body", id=self.request.id, label=label, results=results)
    return results


def slow_body(self: Task, results: Any) -> Any:
    write(what="start", id=self.request.id, label=results)
    time.sleep(0 if self.request.delivery_info.get("redelivered") else 5)
    return results


def errback(request: Any, exc: Any, traceback: Any) -> None:
    write(what="errback", id=request.id, error=repr(exc))


def old_errback(task_id: str) -> None:
    write(what="errback", id=task_id, error="")


def ignored(self: Task) -> None:
    raise Ignore


def rejected(self: Task, requeue: bool = False) -> None:
    write(what="start", id=self.request.id)
    if requeue and self.request.delivery_info.get("redelivered"):
        return
    raise Reject("no", requeue=requeue)


def leave(self: Task, code: int = 3) -> None:
    write(what="start", id=self.request.id)
    raise SystemExit(code)


def unserializable(self: Task) -> Any:
    return object()


def too_much(self: Task, size: int) -> str:
    return "x" * size


def progress(self: Task, seconds: float = 1.0) -> str:
    self.update_state(state="PROGRESS", meta={"done": 50})
    time.sleep(seconds)
    return "done"


def replaced(self: Task, results: Any = None) -> Any:
    """Be replaced by a chord."""
    from celery import chord

    add = self.app.tasks["t.add"]
    raise self.replace(chord([add.s(1, 2), add.s(3, 4)], self.app.tasks["t.total"].s()))


def replaced_by_failing_chain(self: Task) -> Any:
    failing = self.app.tasks["t.fail"].s("in a chain").set(ignore_result=True)
    raise self.replace(failing | self.app.tasks["t.add"].s(1))


def grow_chord(self: Task) -> str:
    """Add another task to its own chord."""
    self.add_to_chord(self.app.tasks["t.add"].s(20, 22))
    return "first"


def spawn(self: Task, n: int) -> Any:
    """Have children."""
    return [self.app.tasks["t.add"].delay(i, i).id for i in range(n)]


def suicide(self: Task) -> None:
    """Kill the process that runs it."""
    write(what="start", id=self.request.id)
    os.kill(os.getpid(), 9)


def late_suicide(self: Task) -> None:
    suicide(self)


def booked(self: Task, table: str, label: str, then: str = "") -> str:
    """Write a row and end in one transaction; then go on, fail, or die."""
    import sqlalchemy as sa

    from kombu_depqueue_celery import finish

    write(what="start", id=self.request.id, label=label)
    url = os.environ["DQ_DATABASE"]
    engine = sa.create_engine(url, **({"isolation_level": "READ COMMITTED"} if url.startswith("mysql") else {}))
    try:
        with engine.begin() as connection:
            connection.execute(sa.text(f"INSERT INTO {table} (label) VALUES (:label)"), {"label": label})
            if then == "wait":
                time.sleep(6)
            finish(self.request, connection, f"booked {label}")
            if then == "rollback":
                raise RuntimeError("no")
    finally:
        engine.dispose()
    if then == "die":
        os.kill(os.getppid() if self.request.hostname.startswith("prefork") else os.getpid(), 9)
    if then == "raise":
        raise RuntimeError("after the commit")
    return "something else"


TASKS: list[tuple[Any, dict[str, Any]]] = [
    (work, {"bind": True, "max_retries": None}),
    (late_work, {"bind": True, "acks_late": True, "max_retries": None}),
    (fails_once, {"bind": True}),
    (collect, {"bind": True}),
    (slow_body, {"bind": True, "acks_late": True}),
    (errback, {}),
    (old_errback, {}),
    (ignored, {"bind": True}),
    (rejected, {"bind": True}),
    (leave, {"bind": True}),
    (unserializable, {"bind": True}),
    (too_much, {"bind": True}),
    (progress, {"bind": True}),
    (replaced, {"bind": True}),
    (replaced_by_failing_chain, {"bind": True}),
    (grow_chord, {"bind": True}),
    (spawn, {"bind": True, "trail": True}),
    (suicide, {"bind": True}),
    (late_suicide, {"bind": True, "acks_late": True}),
    (booked, {"bind": True, "acks_late": True}),
]


def add_tasks(app: Celery) -> Celery:
    for function, options in TASKS:
        app.task(name=f"t.{function.__name__}", **options)(function)
    for function in (ignored, rejected, leave):
        app.task(name=f"t.late_{function.__name__}", bind=True, acks_late=True)(function)
    return app


if "DQ_BROKER" in os.environ:
    conf = json.loads(os.environ.get("DQ_CONF", "{}"))
    app = add_tasks(make_app(os.environ["DQ_BROKER"], os.environ["DQ_BACKEND"], conf))
