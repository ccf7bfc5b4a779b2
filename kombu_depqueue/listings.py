"""What is there: jobs in pages, queues with counts; each look bounded, however much there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kombu_depqueue.dialects import Tx
from kombu_depqueue.dialects.steps import STATUS
from kombu_depqueue.entry import JSON, decode_json
from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.job import JobInfo, JobMessage, JobPage, JobState, JobStatus, QueueInfo
from kombu_depqueue.releases import STATE
from kombu_depqueue.store import Store

__all__ = ["DEAD", "LOOK_AT", "Listings", "Wanted"]

LOOK_AT = 10_000
"""Rows of each table that one page may look at: about 20 ms on SQLite, when few of them are wanted."""

DEAD = "dead"

_LOWEST, _HIGHEST = UUID(int=0), UUID(int=(1 << 128) - 1)
_COLD = (JobState.BLOCKED, JobState.SCHEDULED)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs a list is of; None: any."""

    state: str | None = None
    queue: str | None = None
    channel: str | None = None

    def __post_init__(self) -> None:
        """Refuse a state that does not exist."""
        if self.state is not None and self.state not in (DEAD, *JobState):
            known = ", ".join((*JobState, DEAD))
            raise InvalidJob("state", f"{self.state!r} is none of {known}")

    @property
    def real_state(self) -> JobState | None:
        """The state that the jobs are in."""
        if self.state is None:
            return None
        return JobState.FAILED if self.state == DEAD else JobState(self.state)

    def is_of(self, channel: str, queue: str) -> bool:
        """Whether jobs of this queue are wanted."""
        return self.queue in (None, queue) and self.channel in (None, channel)


class Listings:
    """Reads lists for people and programs."""

    def __init__(self, store: Store) -> None:
        self.database = store.database
        self.sql = store.sql

    # jobs

    def page(self, wanted: Wanted, after: UUID | None, limit: int) -> JobPage:
        """The next jobs by id, from big to small."""
        before = _HIGHEST if after is None else after
        return self.database.read(lambda tx: self._page(tx, wanted, before, limit))

    def _page(self, tx: Tx, wanted: Wanted, before: UUID, limit: int) -> JobPage:
        found: dict[UUID, JobInfo] = {}
        if not any(wanted.is_of(channel, name) for _, channel, name, _ in tx.all(self.sql.all_queues)):
            return JobPage((), None)  # else all jobs would be looked through in vain
        down_to = _LOWEST
        for edge, jobs in self._looks(tx, wanted, before, limit):
            found |= {job.job_id: job for job in jobs}
            # Below this one there may be more in that table, unseen.
            seen = jobs[-1].job_id if len(jobs) == limit else edge
            down_to = max(down_to, seen)
        jobs = sorted((j for j in found.values() if j.job_id >= down_to), key=lambda j: j.job_id, reverse=True)
        if len(jobs) > limit:
            down_to = jobs[limit - 1].job_id
        return JobPage(tuple(jobs[:limit]), None if down_to == _LOWEST else down_to)

    def _looks(self, tx: Tx, wanted: Wanted, before: UUID, limit: int) -> Iterator[tuple[UUID, list[JobInfo]]]:
        """How far each table was looked through, and what was found; in the order in which jobs move on."""
        state = wanted.real_state
        common = {"p_before": before, "p_name": wanted.queue, "p_channel": wanted.channel, "p_limit": limit}
        if state is None or state in _COLD:
            start = self._edge(tx, self.sql.edge_of_cold, before)
            rows = tx.all(self.sql.list_cold, **common, p_from=start, p_state=state)
            yield start, [_live(row) for row in rows]
        if state is None or not (state in _COLD or state.is_finished):
            start = self._edge(tx, self.sql.edge_of_hot, before)
            rows = tx.all(self.sql.list_hot, **common, p_from=start, p_state=state)
            yield start, [_live(row) for row in rows]
        if state is None or state.is_finished:
            start = self._edge(tx, self.sql.edge_of_ended, before)
            only = {"p_status": None if state is None else STATUS[state], "p_dead": int(wanted.state == DEAD)}
            rows = tx.all(self.sql.list_ended, **common, p_from=start, **only)
            yield start, [_ended(row) for row in rows]

    def _edge(self, tx: Tx, statement: Any, before: UUID) -> UUID:
        rows = tx.all(statement, p_before=before, p_rows=LOOK_AT - 1)
        return rows[0][0] if rows else _LOWEST

    def message(self, status: JobStatus) -> JobMessage | None:
        """A job as it was enqueued; None if that is kept no longer."""
        rows = self.database.read(lambda tx: tx.all(self.sql.payload, p_job_id=status.job_id))
        if not rows:
            return None
        envelope, body = rows[0]
        outside = {} if envelope is None else decode_json("headers", bytes(envelope))
        if not isinstance(outside, dict):
            raise InvalidJob("headers", "the stored envelope is no JSON object")
        content_type = str(outside.get("content_type") or JSON)
        plain = content_type == JSON
        return JobMessage(
            status.job_id,
            status.run_at,
            job_type=status.job_type,
            args=decode_json("args", bytes(body)) if plain else None,
            priority=status.priority,
            depends_on=status.depends_on,
            max_attempts=status.max_attempts,
            channel=status.channel,
            body=None if plain else bytes(body),
            content_type=None if plain else content_type,
            headers=outside.get("headers") or None,
        )

    # queues

    def queues(self, *, lasting: bool = False) -> list[QueueInfo]:
        """All queues with bounded counts; `lasting`: without those that end with their consumers."""
        which = self.sql.lasting_queues if lasting else self.sql.all_queues

        def work(tx: Tx) -> list[QueueInfo]:
            dead = dict(tx.all(self.sql.count_dead))
            found = []
            for number, channel, name, paused in tx.all(which):
                ready, leased = tx.all(self.sql.count_hot, p_queue=number)[0]
                scheduled, blocked = tx.all(self.sql.count_waiting, p_queue=number)[0]
                counts = (ready, leased, scheduled, blocked, dead.get(number, 0))
                found.append(QueueInfo(name, channel, bool(paused), *counts, self._waited(tx, number, ready)))
            return found

        return self.database.read(work)

    def _waited(self, tx: Tx, queue: int, ready: int) -> float | None:
        """Of the first ready job of each priority, the one that has waited longest."""
        left = []
        for (rank,) in tx.all(self.sql.ranks, p_queue=queue) if ready else ():
            left += [seconds for (seconds,) in tx.all(self.sql.waited, p_queue=queue, p_rank=rank)]
        return max(0.0, -min(left)) if left else None

    def prunable(self) -> int:
        """How many records of ended jobs are kept no longer."""
        return int(self.database.read(lambda tx: tx.all(self.sql.count_prunable))[0][0])


def _live(row: Any) -> JobInfo:
    job_id, name, channel, state, queued, started, run_at, attempt = row
    return JobInfo(job_id, name, channel, JobState(state), queued, attempt, run_at, started)


def _ended(row: Any) -> JobInfo:
    job_id, name, channel, status, queued, started, finished, attempt, reason, dead = row
    return JobInfo(
        job_id,
        name,
        channel,
        STATE[status],
        queued,
        attempt,
        started=started,
        finished=finished,
        reason=reason,
        dead=bool(dead),
    )
