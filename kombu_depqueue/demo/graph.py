"""The jobs, what they depend on, and the handlers that run them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

from kombu_depqueue import JobMessage, JobQueue, Policy, Reservation
from kombu_depqueue.demo.measure import Module, measure, summarize

__all__ = ["DELAY", "JOB_TYPES", "Graph", "Handler", "build", "handlers_for"]

JOB_TYPES = ("module", "package", "report", "delayed")
DELAY = 3.0
"""Seconds before the delayed job may run."""

Handler = Callable[[Reservation], Any]


@dataclass(frozen=True, slots=True)
class Graph:
    """All jobs of one run, dependencies before their dependents."""

    jobs: list[JobMessage]
    names: Mapping[UUID, str]
    """What to call each job."""
    report: UUID
    delayed: UUID

    def count(self, job_type: str) -> int:
        """How many jobs there are of this type."""
        return sum(job.job_type == job_type for job in self.jobs)

    @property
    def edges(self) -> int:
        """How many dependencies there are."""
        return sum(len(job.depends_on) for job in self.jobs)


def build(modules: Sequence[Module]) -> Graph:
    """Make a job for each module, one for each package, the report and the delayed job.

    A failed module must not go unnoticed: with the policy "succeeded" its package and the report are canceled.
    """
    jobs: list[JobMessage] = []
    packages: list[JobMessage] = []
    for package, members in groupby(modules, key=lambda m: m.package):
        mine = [JobMessage.new("module", {"name": m.name, "path": m.path}) for m in members]
        after = [job.job_id for job in mine]
        strict = {"depends_on": after, "dependency_policy": Policy.SUCCEEDED, "priority": 1}
        packages.append(JobMessage.new("package", {"name": package}, **strict))
        jobs += [*mine, packages[-1]]
    strict = {"depends_on": [job.job_id for job in packages], "dependency_policy": Policy.SUCCEEDED}
    report = JobMessage.new("report", {"name": "standard library"}, **strict)
    delayed = JobMessage.new("delayed", {"name": "delayed job"}, delay=DELAY, priority=1)
    jobs += [report, delayed]
    return Graph(jobs, {job.job_id: job.args["name"] for job in jobs}, report.job_id, delayed.job_id)


def handlers_for(queue: JobQueue, worker: str) -> dict[str, Handler]:
    """Make the handlers of one worker process. What a handler returns is the job's result."""

    def module(job: Reservation) -> dict[str, Any]:
        return measure(**job.args) | {"workers": {worker: 1}}

    def package(job: Reservation) -> dict[str, Any]:
        parts = [dependency.result for dependency in job.results_of_dependencies()]
        return summarize(job.args["name"], parts) | {"workers": _shares(parts)}

    def report(job: Reservation) -> dict[str, Any]:
        parts = [dependency.result for dependency in job.results_of_dependencies()]
        packages = [{"name": part["name"], "counts": part["counts"]} for part in parts]
        return summarize(job.args["name"], parts) | {"packages": packages, "workers": _shares(parts)}

    def delayed(job: Reservation) -> dict[str, int]:
        return {info.name: info.ready + info.leased + info.blocked for info in queue.queues()}

    return {"module": module, "package": package, "report": report, "delayed": delayed}


def _shares(parts: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Add up how many modules each worker measured."""
    shares: Counter[str] = Counter()
    for part in parts:
        shares.update(part["workers"])
    return dict(sorted(shares.items()))
