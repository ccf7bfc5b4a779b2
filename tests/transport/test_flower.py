"""Flower, unchanged, on this broker: its pages of workers and tasks, their live updates, its remote control."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from transport_workers import Bench

from kombu_depqueue.testing.helpers import wait_until


class Flower:
    """`celery flower` as a process, and its HTTP interface."""

    def __init__(self, bench: Bench) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.at = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.log = bench.folder / "flower.log"
        command = [sys.executable, "-m", "celery", "-A", "transport_app", "flower", "--address=127.0.0.1"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"--port={self.at.rpartition(':')[2]}"],
                cwd=bench.folder,
                env={**bench.environment(), "FLOWER_UNAUTHENTICATED_API": "true"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def page(self, path: str, post: bool = False) -> str:
        """What it answers."""
        assert self.process.poll() is None, self.log.read_text()
        request = Request(f"{self.at}{path}", method="POST" if post else "GET")  # noqa: S310 - our own address
        with urlopen(request, timeout=20) as answer:  # noqa: S310
            return str(answer.read().decode())

    def find(self, path: str) -> Any:
        """The same, as Python values; None: it is not ready."""
        try:
            return json.loads(self.page(path))
        except URLError:
            return None


@pytest.fixture
def flower(bench: Bench) -> Iterator[Flower]:
    made = Flower(bench)
    yield made
    made.process.terminate()
    made.process.wait(20)


def test_flower_sees_workers_and_tasks_and_controls_them(bench: Bench, flower: Flower) -> None:
    worker = bench.worker("-E", "-c", "1", pool="prefork").ready()
    wait_until(lambda: (flower.find("/workers?json=1") or {}).get("data"), 60)
    [seen] = flower.find("/workers?json=1")["data"]
    assert (seen["hostname"], seen["status"]) == (worker.name, True)
    assert worker.name in flower.page("/workers")

    result = bench.send("note", "seen")
    broken = bench.send("fail", "seen, too")
    states = {result.id: "SUCCESS", broken.id: "FAILURE"}
    wait_until(lambda: {i: t["state"] for i, t in (flower.find("/api/tasks") or {}).items()} == states, 30)
    assert "seen" in flower.page(f"/task/{result.id}")
    assert flower.find("/workers?json=1")["data"][0]["task-succeeded"] == 1

    wait_until(lambda: worker.name in (flower.find("/api/workers?refresh=1") or {}), 30)  # asks it by remote control
    assert "Growing" in flower.page(f"/api/worker/pool/grow/{worker.name}?n=1", post=True)
    inspect = bench.app.control.inspect(timeout=5)
    wait_until(lambda: len(inspect.stats()[worker.name]["pool"]["processes"]) == 2, 30)
    held = bench.send("note", "held", 300)
    bench.facts.wait("start", label="held")
    flower.page(f"/api/task/revoke/{held.id}?terminate=true", post=True)
    wait_until(lambda: (flower.find("/api/tasks") or {}).get(held.id, {}).get("state") == "REVOKED", 30)

    worker.terminate()
    worker.wait()
    wait_until(lambda: flower.find("/workers?json=1")["data"][0]["status"] is False, 30)
