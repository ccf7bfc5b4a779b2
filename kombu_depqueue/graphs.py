"""A job and all that it is connected with, as text that others draw: Mermaid, or Graphviz's DOT."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol
from uuid import UUID

from kombu_depqueue.errors import NotExist
from kombu_depqueue.job import JobState, JobStatus

__all__ = ["connected", "draw", "edges"]

_COLORS = {
    JobState.SUCCEEDED: "#9fd89f",
    JobState.FAILED: "#f2a6a6",
    JobState.CANCELED: "#d0d0d0",
    JobState.EXPIRED: "#d0d0d0",
    JobState.LEASED: "#a8c8f0",
    JobState.RUNNING: "#a8c8f0",
}


class _Asked(Protocol):
    def status(self, job_id: UUID, /) -> JobStatus: ...


def connected(queue: _Asked, job_id: UUID, most: int) -> list[JobStatus]:
    """Find a job, and all that depends on it or it on, and so on: at most so many, nearest first. Raises NotExist."""
    found = {job_id: queue.status(job_id)}
    todo = deque([job_id])
    known = {job_id}
    while todo and len(found) < most:
        one = todo.popleft()
        if one not in found:
            try:
                found[one] = queue.status(one)
            except NotExist:  # pruned, or promised
                continue
        for other in (*found[one].depends_on, *found[one].dependents):
            if other not in known and len(known) < 20 * most:
                known.add(other)
                todo.append(other)
    return list(found.values())


def edges(jobs: Sequence[JobStatus]) -> Iterator[tuple[UUID, UUID]]:
    """Pairs of a dependency and its dependent, as far as both are among the jobs."""
    shown = {job.job_id for job in jobs}
    for job in jobs:
        for dependency in job.depends_on:
            if dependency in shown:
                yield dependency, job.job_id


def draw(jobs: Sequence[JobStatus], form: str) -> Iterator[str]:
    """Say it in lines of "mermaid" or "dot"."""
    return _dot(jobs) if form == "dot" else _mermaid(jobs)


def _label(job: JobStatus) -> str:
    queue = "".join(c if c.isalnum() or c in " ._-" else "_" for c in job.job_type)
    return f"{queue} {str(job.job_id)[:8]} {job.state}"


def _mermaid(jobs: Sequence[JobStatus]) -> Iterator[str]:
    yield "graph TD"
    for job in jobs:
        yield f'  n{job.job_id.hex}["{_label(job)}"]'
        if job.state in _COLORS:
            yield f"  style n{job.job_id.hex} fill:{_COLORS[job.state]}"
    for dependency, dependent in edges(jobs):
        yield f"  n{dependency.hex} --> n{dependent.hex}"


def _dot(jobs: Sequence[JobStatus]) -> Iterator[str]:
    yield "digraph jobs {"
    for job in jobs:
        color = f', style=filled, fillcolor="{_COLORS[job.state]}"' if job.state in _COLORS else ""
        yield f'  n{job.job_id.hex} [label="{_label(job)}"{color}];'
    for dependency, dependent in edges(jobs):
        yield f"  n{dependency.hex} -> n{dependent.hex};"
    yield "}"
