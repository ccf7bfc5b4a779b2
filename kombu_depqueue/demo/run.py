"""One run: the graph enqueued, watched until its end, and held against a direct computation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from kombu_depqueue import JobQueue, JobState, JobStatus, LeaseLost
from kombu_depqueue.demo.graph import DELAY, JOB_TYPES, Graph
from kombu_depqueue.demo.measure import Module, measure, summarize
from kombu_depqueue.demo.processes import LEASE, WorkerProcess, Workers
from kombu_depqueue.demo.screen import Bar, Screen

__all__ = ["DemoError", "Run"]

DEADLINE = 900.0
"""Seconds after which a run is given up: a hundred times what it takes, for slow and busy machines."""
LOOK = 0.1
"""Seconds between two looks at the queue."""
KILL_AT = 0.3
"""The part of the modules that are measured when a worker is killed."""


class DemoError(Exception):
    """The run cannot go on; the message says why."""


@dataclass(slots=True)
class Run:
    """What is known of the run while it lasts."""

    queue: JobQueue
    graph: Graph
    workers: Workers
    screen: Screen
    began: float = field(default_factory=time.monotonic)
    killed_at: float = 0.0
    taken: dict[UUID, str] = field(default_factory=dict)
    """What a killed worker held, and its name."""
    returned: dict[UUID, int] = field(default_factory=dict)
    """Which of these were handed out again, and at which attempt."""
    delayed_seen: bool = False

    def watch(self) -> None:
        """Show the progress until every job has ended; kill a worker on the way."""
        last = (self.graph.report, self.graph.delayed)
        while not all(self.queue.status(job_id).state.is_finished for job_id in last):
            bars = self._bars()
            self.screen.show(bars)
            if not self.taken and bars[0].done >= KILL_AT * bars[0].total:
                self._kill_one()
            self._look_for_returned()
            self._look_at_delayed()
            self._check_health()
            time.sleep(LOOK)
        self._look_for_returned()
        self._look_at_delayed()
        self.screen.show(self._bars(), final=True)

    def _bars(self) -> list[Bar]:
        found = {info.name: info for info in self.queue.queues()}
        bars = []
        for job_type in JOB_TYPES:
            total, info = self.graph.count(job_type), found.get(job_type)
            counts = [] if info is None else [info.ready, info.leased, info.blocked, info.scheduled]
            words = zip(("ready", "leased", "blocked", "scheduled"), counts, strict=False)
            note = ", ".join(f"{count} {word}" for word, count in words if count)
            bars.append(Bar(job_type, max(0, total - sum(counts)), total, note))
        return bars

    # the killed worker

    def _kill_one(self) -> None:
        """Kill the worker that holds most, and note what it still held.

        Perhaps it was just done with everything: then `taken` stays empty and this happens again.
        """
        held = self._held()
        victim = self.workers.named(max(held, key=lambda name: len(held[name]))) if held else None
        if victim is None:
            return
        victim.kill()
        self.killed_at = time.monotonic()
        time.sleep(0.2)  # a server ends what it had begun for a client that is gone
        self.taken = dict.fromkeys(self._held().get(victim.name, ()), victim.name)
        names = ", ".join(self.graph.names[job_id] for job_id in self.taken) or "nothing"
        self._tell(f"{victim.name} killed with -9; it held {names}")
        self._tell(f"{self.workers.start().name} takes its place; the lease lasts {LEASE:g} s")

    def _held(self) -> dict[str, list[UUID]]:
        """The jobs that are leased, by the name of who holds them."""
        held: dict[str, list[UUID]] = {}
        for token in self.queue.heartbeats(0):
            with suppress(LeaseLost):  # it was acked since
                job_id = self.queue.job_id_of(token)
                holder = self.queue.why(job_id).holder
                if holder is not None:
                    held.setdefault(holder, []).append(job_id)
        return held

    def _look_for_returned(self) -> None:
        for job_id in self.taken.keys() - self.returned.keys():
            attempt = self.queue.status(job_id).attempt
            if attempt > 1:
                self.returned[job_id] = attempt
                waited = time.monotonic() - self.killed_at
                name = self.graph.names[job_id]
                self._tell(f"redelivered {waited:.1f} s after the kill: {name}, attempt {attempt}")

    # the delayed job

    def _look_at_delayed(self) -> None:
        status = self.queue.status(self.graph.delayed)
        if status.finished is None or self.delayed_seen:
            return
        self.delayed_seen = True
        self._tell(f"the delayed job, due after {DELAY:.2f} s, was handed out after {_waited(status):.2f} s")

    def _tell(self, line: str) -> None:
        self.screen.say(f"{time.monotonic() - self.began:5.1f} s  {line}")

    # the end

    def _check_health(self) -> None:
        for worker in self.workers.all:
            if worker.ended:
                raise DemoError(_obituary(worker))
        if time.monotonic() - self.began > DEADLINE:
            raise DemoError(f"not done after {DEADLINE:g} s: {self.queue.why(self.graph.report)}")

    def statuses(self) -> list[JobStatus]:
        """Ask for the status of every job."""
        return [self.queue.status(job.job_id) for job in self.graph.jobs]

    def faults(self, statuses: Sequence[JobStatus], modules: Sequence[Module]) -> list[str]:
        """Say what is not as it must be: nothing, that is."""
        faults = [
            f"{self.graph.names[s.job_id]} {s.state}: {s.reason}" for s in statuses if s.state is not JobState.SUCCEEDED
        ]
        by_id = {s.job_id: s for s in statuses}
        left = sum(i.ready + i.leased + i.blocked + i.scheduled for i in self.queue.queues())
        if left:
            faults.append(f"{left} jobs are still there")
        if not self.returned:
            faults.append("no job of a killed worker was redelivered")
        delayed, report = by_id[self.graph.delayed], by_id[self.graph.report]
        if _waited(delayed) < DELAY - 0.01:  # times are stored in milliseconds
            faults.append("the delayed job ran too early")
        direct = self._measure_directly(modules)
        wrong = [key for key in direct if report.result is None or report.result[key] != direct[key]]
        return faults + [f"the report and the direct computation differ in {key!r}" for key in wrong]

    def _measure_directly(self, modules: Sequence[Module]) -> dict[str, object]:
        began, parts = time.monotonic(), []
        for number, module in enumerate(modules, 1):
            parts.append(measure(module.name, module.path))
            if number % 10 == 0 or number == len(modules):
                self.screen.show([Bar("check", number, len(modules), "measured again, without a queue")])
        self.screen.clear()
        total = summarize("standard library", parts)
        took = time.monotonic() - began
        self.screen.say(f"the same directly, in one process without a queue: {took:.1f} s")
        return total


def _waited(status: JobStatus) -> float:
    """Seconds from enqueue to the (last) hand-out, by the database's clock."""
    return 0.0 if status.started is None else (status.started - status.queued).total_seconds()


def _obituary(worker: WorkerProcess) -> str:
    return f"{worker.name} ended by itself:\n{worker.complaints or 'it said nothing'}"
