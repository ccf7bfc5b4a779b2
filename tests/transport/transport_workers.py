"""Real Celery workers, and what they tell."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from celery import Celery
from celery.backends.redis import RedisBackend
from kombu import pools
from kombu.utils.collections import eqhash
from transport_helpers import broker_of

from kombu_depqueue import JobQueue

HERE = Path(__file__).parent
READY = 60.0
"""Seconds that a worker may take to start: machines are slow."""


class Facts:
    """The file that tasks write to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, what: str | None = None, **wanted: Any) -> list[dict[str, Any]]:
        """All facts, or those that have these values."""
        if what is not None:
            wanted["what"] = what
        found = []
        with contextlib.suppress(FileNotFoundError), self.path.open(encoding="utf-8") as file:
            for line in file:
                if not line.endswith("\n"):
                    break  # being written: the next look would begin in its middle
                fact = json.loads(line)
                if all(fact.get(name) == value for name, value in wanted.items()):
                    found.append(fact)
        return found

    def wait(self, what: str, count: int = 1, timeout: float = 20.0, **wanted: Any) -> list[dict[str, Any]]:
        """Wait until there are so many."""
        deadline = time.monotonic() + timeout
        while len(found := self(what, **wanted)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} {what} {wanted} within {timeout} s"
            time.sleep(0.02)
        return found


class Worker:
    """`celery -A transport_app worker` as a process, begun at once; `ready` waits for it."""

    def __init__(
        self,
        bench: Bench,
        *args: str,
        pool: str = "solo",
        name: str = "w",
        conf: Mapping[str, Any] | None = None,
        broker: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.bench, self.pool = bench, pool
        self.name = f"{name}@test"
        self.log = bench.folder / f"{name}-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "celery", "-A", bench.module, "worker", "-P", pool, "-l", "INFO"]
        command += ["-n", self.name, *args]
        self._before = len(bench.facts("ready", worker=self.name))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=bench.folder,
                env={**bench.environment(conf, broker), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self.process.pid

    def ready(self) -> Worker:
        """Wait until it takes tasks."""
        deadline = time.monotonic() + READY
        while len(self.bench.facts("ready", worker=self.name)) <= self._before:
            assert self.process.poll() is None, f"the worker ended with {self.process.returncode}:\n{self.said()}"
            assert time.monotonic() < deadline, f"the worker is not ready:\n{self.said()}"
            time.sleep(0.05)
        return self

    def said(self, most: int = 6000) -> str:
        return self.log.read_text(errors="replace")[-most:]

    def terminate(self) -> None:
        """Ask for a warm shutdown."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9, of it and of its children as when the machine dies."""
        if self.process.returncode is None:  # else its number may be somebody else's by now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for its end."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker does not end:\n{self.said()}") from None

    def close(self) -> None:
        """End it in any case; its log must not tell of errors of ours."""
        if self.process.poll() is None:
            self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        self.kill()


class Bench:
    """One broker with a result backend, a file of facts, producers and workers."""

    def __init__(
        self,
        url: str,
        folder: Path,
        make_app: Callable[..., Celery],
        backend: str | None = None,
        *,
        module: str = "transport_app",
        path: Path = HERE,
    ) -> None:
        self.url, self.folder, self.module, self.path = url, folder, module, path
        self.broker = broker_of(url)
        self.shared: Worker | None = None
        self.facts = Facts(folder / "facts.jsonl")
        (folder / "results").mkdir(exist_ok=True)
        self.prefix = f"dqt-{folder.name}-{time.time_ns()}"
        self.backend = backend or redis_url() or f"file://{folder / 'results'}"
        self._make_app = make_app
        self._stack = contextlib.ExitStack()
        self._workers: list[Worker] = []
        self._app: Celery | None = None
        self._telling: Celery | None = None

    def conf(self, conf: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The configuration that workers and producers share."""
        mine: dict[str, Any] = {}
        if self.backend.startswith("redis"):
            mine["result_backend_transport_options"] = {"global_keyprefix": self.prefix}
        return {**mine, **(conf or {})}

    def environment(self, conf: Mapping[str, Any] | None = None, broker: str | None = None) -> dict[str, str]:
        """What a process of the application needs to know."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("DQ_", "DEPQUEUE_TEST", "PYTEST"))},
            "DQ_BROKER": broker or self.broker,
            "DQ_BACKEND": self.backend,
            "DQ_FACTS": str(self.facts.path),
            "DQ_CONF": json.dumps(self.conf(conf)),
            "PYTHONPATH": os.pathsep.join([str(self.path), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTHONUNBUFFERED": "1",
        }

    def worker(self, *args: str, **options: Any) -> Worker:
        """Start a worker; it is ended with the bench."""
        worker = Worker(self, *args, **options)
        self._workers.append(worker)
        self._stack.callback(worker.close)
        return worker

    def beat(self, every: float) -> subprocess.Popen[bytes]:
        """Start `celery beat`, which sends `t.note("tick")` so often (seconds)."""
        command = [sys.executable, "-m", "celery", "-A", self.module, "beat", "-l", "INFO", "--max-interval", "1"]
        with (self.folder / "beat.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environment(), "DQ_BEAT": str(every)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._stack.callback(_end, process)
        return process

    def celery(self, *args: str, timeout: float = 60.0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a `celery` command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "celery", "-A", self.module, *args],
            cwd=self.folder,
            env={**self.environment(), **options.pop("env", {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **options,
        )

    @property
    def app(self) -> Celery:
        """The application in this process, to send tasks with."""
        if self._app is None:
            self._app = self.producer()
        return self._app

    def producer(self, broker: str | None = None, **conf: Any) -> Celery:
        """One more application in this process."""
        app = self._make_app(broker or self.broker, self.backend, self.conf(conf))
        self._stack.callback(_close, app)
        return app

    @property
    def sender_with_events(self) -> Celery:
        """An application whose producers tell of what they send."""
        if self._telling is None:
            self._telling = self.producer(task_send_sent_event=True)
        return self._telling

    def native(self) -> JobQueue:
        """The native API on the broker's database."""
        return JobQueue(self.url, create=True)

    def send(self, name: str, *args: Any, **options: Any) -> Any:
        """Send a task."""
        kwargs = options.pop("kwargs", {})
        return self.app.tasks[f"t.{name}"].apply_async(args, kwargs, **options)

    def let_go(self, label: Any) -> None:
        """Let the task `hold(label)` end."""
        self.facts.path.with_name(f"go-{label}").touch()

    def signature(self, name: str, *args: Any, **options: Any) -> Any:
        return self.app.signature(f"t.{name}", args, **options)

    def close(self) -> None:
        for worker in self._workers:  # all at once: each takes a while
            if worker.process.poll() is None:
                worker.terminate()
        self._stack.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _close(app: Celery) -> None:
    backend = app.backend
    app.pool.force_close_all()
    app.amqp.producer_pool.force_close_all()
    key = eqhash(app.connection_for_write())
    for group in (pools.connections, pools.producers):  # the next test may have the same URL
        group.pop(key, None)
    if isinstance(backend, RedisBackend):
        backend.result_consumer.stop()
        backend.result_consumer._pubsub = None  # a result that is collected later would connect anew
        backend.client.connection_pool.disconnect()
    app.close()


def redis_url() -> str | None:
    """A Redis that lets us in, if there is one."""
    import redis

    url = "redis://127.0.0.1:6379/7"
    client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    try:
        client.ping()
    except redis.RedisError:
        return None
    finally:
        client.close()
    return url


def labels(facts: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [f["label"] for f in facts]
