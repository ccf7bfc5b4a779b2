"""Jobs that flow while servers die: the processes, what they said, and whether it can all be true."""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import availability_programs as programs
from availability_programs import QUEUE, TASKS

from kombu_depqueue import JobQueue
from kombu_depqueue.testing.helpers import ChildProcess, wait_until

READY = 60.0
"""Seconds that the slowest of the processes may take to start."""
SOON = 2.0
"""Seconds after a fault within which what was claimed before it may still be told."""


@dataclass
class Report:
    """The figures of a run."""

    published: int = 0
    errors: int = 0
    """Publishes that failed, and were repeated with the same id."""
    had_committed: int = 0
    """Those of them that had taken place all the same."""
    gaps: list[float] = field(default_factory=list)
    """The longest time (seconds) without a publish around each fault."""
    lost: list[str] = field(default_factory=list)
    """Jobs whose publish was acknowledged, and which were never handed out."""
    again: list[str] = field(default_factory=list)
    """Jobs handed out twice, since the failover took back a claim."""
    broken: list[str] = field(default_factory=list)
    """What must never be, in words."""

    def __str__(self) -> str:
        gaps = ", ".join(f"{gap:.2f}" for gap in self.gaps)
        return (
            f"{self.published} published, {self.errors} errors of which {self.had_committed} had committed, "
            f"write gap {gaps} s, {len(self.lost)} lost, {len(self.again)} handed out again"
        )


class Flow:
    """Publishers and workers on a database that is about to fail."""

    def __init__(self, url: str, broker: str) -> None:
        self._url, self._broker = url, broker
        self._stack = ExitStack()
        self._publishers: list[ChildProcess] = []
        self._workers: list[ChildProcess] = []
        self._celery: list[ChildProcess] = []
        self.facts: list[dict[str, Any]] = []
        self.faults: list[float] = []

    def __enter__(self) -> Flow:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _run(self, kind: list[ChildProcess], program: Callable[..., object], *args: Any) -> None:
        child = ChildProcess(program, *args)
        self._stack.callback(child.close)
        kind.append(child)

    def start(self, publishers: list[dict[str, Any]], workers: list[dict[str, Any]], *, celery: bool = True) -> None:
        """One native publisher and worker for each set of options, and one of each of Celery's."""
        if celery:
            self._run(self._celery, programs.work_by_celery, self._broker)
            self._run(self._publishers, programs.publish_by_celery, self._broker)
        for options in workers:
            self._run(self._workers, programs.work_natively, self._url, options)
        for options in publishers:
            self._run(self._publishers, programs.publish_natively, self._url, options)
        for one in self._celery:
            assert one.heard(READY)["did"] == "ready"
        for one in self._publishers:
            self.facts.append(one.heard(READY))

    def fault(self, what: Callable[[], object]) -> None:
        """Do it, and note when."""
        self.faults.append(time.monotonic())
        what()

    def stop(self, queue: JobQueue) -> Report:
        """End the publishers, then, when nothing is left, the workers; and judge."""
        told = time.monotonic()
        self._end(self._publishers)
        wait_until(lambda: not any(q.ready + q.leased for q in queue.queues() if q.name in (QUEUE, TASKS)), 60)
        for one in self._celery:
            os.kill(one.pid, signal.SIGTERM)
            self.facts += one.heard_until_end(30)
        self._end(self._workers)
        return judge(self.facts, self.faults, told)

    def _end(self, processes: list[ChildProcess]) -> None:
        for one in processes:
            one.tell()
        for one in processes:
            self.facts += one.heard_until_end(60)
            one.wait()


def judge(facts: list[dict[str, Any]], faults: list[float], end: float) -> Report:
    """Whether all that was said can be true; the publishers were told to stop at `end`."""
    report = Report()
    published = sorted((f for f in facts if f["did"] == "published"), key=lambda f: f["at"])
    report.published = len(published)
    report.errors = sum(f["errors"] for f in published)
    report.had_committed = sum(f["had"] for f in published)
    moments = [*(f["at"] for f in published if f["at"] < end), end]
    pairs = list(zip(moments, moments[1:], strict=False))
    report.gaps = [max(after - before for before, after in pairs if after > fault) for fault in faults]
    story: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for fact in sorted(
        (f for f in facts if f["did"] in ("reserved", "acked", "ran", "refused")), key=lambda f: f["at"]
    ):
        story[fact["id"]].append(fact)
    report.lost = [f["id"] for f in published if f["id"] not in story]
    sure = [f["id"] for f in published if f["had"] and not f["uncertain"]]
    report.broken += [f"{job_id}: had committed, though it was said to have not" for job_id in sure]
    for job_id, events in story.items():
        _judge_one(job_id, events, faults, report)
    return report


def _judge_one(job_id: str, events: list[dict[str, Any]], faults: list[float], report: Report) -> None:
    given = [e for e in events if e["did"] in ("reserved", "ran")]
    acked = [e["at"] for e in events if e["did"] == "acked"]
    if len(acked) > 1:
        report.broken.append(f"{job_id}: {len(acked)} acks were accepted")
    if acked and any(e["at"] > acked[0] for e in given):
        report.broken.append(f"{job_id}: handed out after its ack")
    if len(given) > 1:
        report.again.append(job_id)
        # A claim is not waited for: a failover may take back those of the last moments before it. Celery fetches ahead,
        # and may not come to run it before its heart has beaten, on the new server.
        late = SOON + (max(report.gaps) if given[0]["did"] == "ran" else 0.0)
        pairs = zip(given, given[1:], strict=False)
        if not all(any(before["at"] - late < fault < after["at"] for fault in faults) for before, after in pairs):
            report.broken.append(f"{job_id}: {events}, faults at {faults}")
