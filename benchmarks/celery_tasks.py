"""The Celery application of `groups/brokers.py`: an ordinary one, on the broker and with the options it is given."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from celery import Celery

__all__ = ["make_app"]


def make_app(broker: str, options: dict[str, Any], backend: str | None = None, *, late: bool = False) -> Celery:
    """Tasks that do nothing but say that they ran, by a write of a few bytes to a file (2 us)."""
    app = Celery("bench", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(
        broker_transport_options=options,
        task_ignore_result=backend is None,
        task_acks_late=late,
        broker_connection_retry_on_startup=True,
    )
    file = os.open(os.environ["BENCH_FILE"], os.O_WRONLY | os.O_APPEND) if "BENCH_FILE" in os.environ else -1

    @app.task(name="noop", shared=False)
    def noop() -> None:
        os.write(file, b".")

    @app.task(name="give", shared=False)
    def give(value: Any) -> Any:
        return value

    @app.task(name="gather", shared=False)
    def gather(values: Any) -> int:
        return len(values)

    @app.task(name="moment", shared=False)
    def moment(sent: float) -> None:
        os.write(file, f"{time.monotonic() - sent}\n".encode())

    return app


if "BENCH_PLAIN" in os.environ:  # as if the adapter were not installed
    from kombu_depqueue import plugins

    plugins._loaded = True
    plugins._plugins.clear()

if "BENCH_BROKER" in os.environ:
    app = make_app(
        os.environ["BENCH_BROKER"],
        json.loads(os.environ["BENCH_OPTIONS"]),
        os.environ.get("BENCH_BACKEND"),
        late="BENCH_LATE" in os.environ,
    )
    if "BENCH_BACKLOG" in os.environ:  # its broker lives in this process
        queue, count = os.environ["BENCH_BACKLOG"].split()
        for _ in range(int(count)):
            app.tasks["noop"].apply_async(queue=queue)
