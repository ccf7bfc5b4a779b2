"""The steps that take several statements, for any database; each runs in the caller's transaction.

A dialect overrides a step where its database does it in fewer round trips.
Locks are taken in one order everywhere: job (by key), blocked, wait (by job id).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from kombu_depqueue.job import JobState
from kombu_depqueue.schema import Flag
from kombu_depqueue.statements import StoredJob

if TYPE_CHECKING:
    from kombu_depqueue.dialects.base import Tx
    from kombu_depqueue.routing import Routing

__all__ = ["STATUS", "Claimed", "Ending", "Key", "Lane", "Released", "Steps", "Wanted", "status_mask"]

NIL = UUID(int=0)

STATUS = {JobState.SUCCEEDED: 1, JobState.FAILED: 2, JobState.CANCELED: 3, JobState.EXPIRED: 4}
"""End states as numbers. A policy is stored as the set of those that meet it: bit n for status n."""


def status_mask(states: Iterable[JobState]) -> int:
    """The set of end states as bits."""
    return sum(1 << STATUS[s] for s in states)


class Key(NamedTuple):
    """Where a job is in the hot table, and the token that proves the lease on it."""

    queue_id: int
    rank: int
    seq: int
    token: int

    @property
    def held(self) -> dict[str, int]:
        """The parameters of a statement that finds it only while the lease is held."""
        return {"p_queue": self.queue_id, "p_rank": self.rank, "p_seq": self.seq, "p_token": self.token}

    @staticmethod
    def all_held(keys: Sequence[Key]) -> dict[str, list[int]]:
        """The same for several: what they have between them, and of each the difference of token and order number.

        No other job's token and order number have one of these (tokens are random): a stale token does not pass for
        current because another job of the batch is held by that which is.
        """
        names = ("queues", "ranks", "seqs")
        found = {name: sorted({key[i] for key in keys}) for i, name in enumerate(names)}
        return {**found, "differences": sorted({key.token - key.seq for key in keys})}


class Claimed(NamedTuple):
    """A job as the claim returns it (with None for the body if that is too large to be fetched: the store ends it)."""

    queue_id: int
    rank: int
    seq: int
    token: int
    attempt: int
    max_attempts: int
    flags: int
    job_id: UUID | None
    run_at: Any
    expired: bool
    envelope: bytes | None
    body: bytes

    @property
    def is_unfit(self) -> bool:
        """Whether it is too large to have been fetched, or no bytes at all."""
        body: bytes | None = self.body
        return body is None

    @property
    def key(self) -> Key:
        """Where it is, and the token of its lease."""
        return Key(self.queue_id, self.rank, self.seq, self.token)


class Lane(NamedTuple):
    """Of one queue the jobs of this rank behind an order number, and all of the ranks between it and `until`."""

    queue_id: int
    rank: int
    after: int
    until: int

    @property
    def bound(self) -> dict[str, int]:
        """The values of the statements that look there."""
        return {"p_queue": self.queue_id, "p_rank": self.rank, "p_after": self.after, "p_until": self.until}

    @property
    def whole(self) -> set[int]:
        """The ranks of which all jobs are in it; and one that no job has, so that there always is one."""
        return {-1, *range(self.rank if not self.after else self.rank + 1, self.until)}


class Wanted(NamedTuple):
    """What a claim is to lease, for whom: up to `limit` ready jobs of `queues`, or, if there are any, of `lanes`."""

    consumer: int
    token: int
    limit: int
    queues: Sequence[int] = ()
    lanes: Sequence[Lane] = ()


class Ending(NamedTuple):
    """How jobs end: status number, reason, result, and for how long the record is kept (seconds)."""

    status: int
    reason: str | None
    result: bytes | None
    keep: float
    letter: str | None = None
    """Why, for their queue's dead-letter exchange, if it has one; None: it is none of its business."""
    meta: bytes | None = None
    """What the worker says beside the result."""


class Released(NamedTuple):
    """What a release step did: queues that got ready or delayed jobs, and notes still to be worked on."""

    queues: set[int]
    pending: list[UUID]
    ended: Sequence[StoredJob] = ()
    """The jobs whose end it was about."""

    def add(self, other: Released) -> None:
        """What another step of the same transaction did."""
        self.queues.update(other.queues)
        self.pending.extend(other.pending)


class Steps:
    """The portable steps."""

    sql: Routing

    # enqueue

    def insert_jobs(self, tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert ready jobs."""
        tx.many(self.sql.add_job, rows)

    def insert_columns(
        self,
        tx: Tx,
        row: Mapping[str, Any],
        ranks: Sequence[int],
        ids: Sequence[UUID | None],
        envelopes: Sequence[bytes | None],
        bodies: Sequence[bytes],
    ) -> None:
        """Insert ready jobs that are like `row` but for these columns (up to `rows_in_one`, where that is not 1)."""
        raise NotImplementedError

    # claim

    def claim(self, tx: Tx, wanted: Wanted) -> list[Claimed]:
        """Lease ready jobs, in order."""
        limit = wanted.limit
        if wanted.lanes:
            look = self.sql.claimable_after
            found = [row for lane in wanted.lanes for row in tx.all(look, **lane.bound, p_limit=limit)]
        else:
            found = [row for q in wanted.queues for row in tx.all(self.sql.claimable, p_queue=q, p_limit=limit)]
        if not found:
            return []
        found.sort()
        return self.claim_rows(tx, wanted.consumer, wanted.token, [seq for _, seq in found[:limit]])

    def claim_rows(self, tx: Tx, consumer: int, token: int, seqs: Sequence[int]) -> list[Claimed]:
        """Lease these very jobs, as far as they are ready."""
        rows = tx.all(self.sql.claim, p_consumer=consumer, p_token=token, seqs=seqs)
        return in_order(rows)

    # settle

    def ack_one(self, tx: Tx, key: Key, ending: Ending) -> bool:
        """End a held job nobody depends on. False: not held, or somebody depends on it: see `end_held`."""
        raise NotImplementedError  # only where `steps_are_statements`

    def ack_many(self, tx: Tx, keys: Sequence[Key], ending: Ending, own: Mapping[int, Ending]) -> set[int]:
        """End held jobs that nobody depends on, where that is cheaper than `end_held` for each; returns which.

        `own`: by order number, the endings (as succeeded) of those that end otherwise than `ending`.
        """
        return set()

    def ack_and_claim(
        self, tx: Tx, keys: Sequence[Key], ending: Ending, own: Mapping[int, Ending], wanted: Wanted
    ) -> tuple[set[int], list[Claimed]]:
        """`ack_many` and `claim` in one statement."""
        raise NotImplementedError  # only where `steps_are_statements`

    def end_and_release(
        self, tx: Tx, keys: Sequence[Key], notes: Sequence[UUID], ending: Ending, limit: int
    ) -> Callable[[], tuple[set[int], Released]]:
        """End held jobs as succeeded, tell the dependents of those in `notes`; call the result for what was done."""
        raise NotImplementedError

    def end_held(self, tx: Tx, key: Key, ending: Ending) -> StoredJob | None:
        """Take a held job out of the hot table and record its end; None: not held any more."""
        rows = tx.all(self.sql.take_held, **key.held)
        if not rows:
            return None
        job = StoredJob(*rows[0])
        self.record_end(tx, [job], ending)
        return job

    def record_end(self, tx: Tx, jobs: Sequence[StoredJob], ending: Ending, *, first: bool = False) -> list[UUID]:
        """Record the end of jobs that were taken out; returns those whose dependents must be told.

        `first`: they have never been anywhere, so there is no older record to be replaced.
        """
        tracked = [j for j in jobs if j.job_id is not None]
        add_done, add_body = self.sql.add_done, self.sql.add_ended_body
        if first:  # whoever only publishes may not write over a record
            add_done, add_body = self.sql.add_first_done, self.sql.add_first_body
        tx.many(add_done, [_done(j, ending) for j in tracked])
        if ending.status != STATUS[JobState.SUCCEEDED]:
            tx.many(add_body, [_body(j) for j in tracked])
        told = [j.job_id for j in tracked if j.flags & Flag.HAS_DEPENDENTS and j.job_id]
        nil = {"p_status": ending.status, "p_after_id": NIL}
        # A job that ended before, and was published again since, may have left a note.
        tx.many(self.sql.drop_release, [{"p_dep_id": i} for i in told])
        tx.many(self.sql.add_release, [{"p_dep_id": i, **nil} for i in told])
        if any(j.flags & Flag.WATCHED for j in tracked):
            self.tell_watchers(tx)
        return told

    def tell_watchers(self, tx: Tx) -> None:
        """Wake those who wait for the ends of jobs (where commits are not seen anyway)."""

    # release

    def release(self, tx: Tx, notes: Sequence[UUID], limit: int, keep: float) -> Released:
        """Tell up to `limit` dependents of the ended jobs in `notes`."""
        done = Released(set(), [])
        for note in notes:
            if limit <= 0:
                done.pending.append(note)
                continue
            for dep_id, status, after in tx.all(self.sql.release_of, p_dep_id=note):
                limit -= self._release_one(tx, (dep_id, status, after), limit, keep, done)
        return done

    def _release_one(self, tx: Tx, note: Any, limit: int, keep: float, done: Released) -> int:
        dep_id, status, after = note
        edges = tx.all(self.sql.edges_after, p_dep_id=dep_id, p_after=after, p_limit=limit)
        met = [job_id for job_id, policy in edges if policy >> status & 1]
        unmet = [job_id for job_id, policy in edges if not policy >> status & 1]
        if met:
            done.queues.update(self.unblock(tx, met))
        if unmet:
            done.pending.extend(self.cancel_hopeless(tx, unmet, dep_id, status, keep))
        if len(edges) < limit:
            tx.run(self.sql.drop_release, p_dep_id=dep_id)
        else:
            tx.run(self.sql.advance_release, p_dep_id=dep_id, p_after=edges[-1][0])
            done.pending.append(dep_id)
        return max(1, len(edges))

    def unblock(self, tx: Tx, ids: Sequence[UUID]) -> set[int]:
        """Count one dependency less for each, and let those run that wait for none; returns their queues."""
        tx.all(self.sql.lock_blocked, ids=ids)
        tx.run(self.sql.count_down, ids=ids)
        free = [i for (i,) in tx.all(self.sql.take_unblocked, ids=ids)]
        return self.let_run(tx, free) if free else set()

    def let_run(self, tx: Tx, ids: Sequence[UUID]) -> set[int]:
        """Move unblocked jobs on: to the hot table, or to wait for their time."""
        rows = sorted(tx.all(self.sql.take_runnable, ids=ids), key=lambda r: r[-1])
        self.move_in(tx, [StoredJob(*r[:-1]) for r in rows])
        queues = {r[1] for r in rows}
        if len(rows) < len(ids):
            queues.update(q for (q,) in tx.all(self.sql.schedule_unblocked, ids=ids))
        return queues

    def move_in(self, tx: Tx, jobs: Sequence[StoredJob]) -> None:
        """Put jobs into the hot table, in this order."""
        tx.many(self.sql.restore_job, [restored(j) for j in jobs])

    def cancel_hopeless(self, tx: Tx, ids: Sequence[UUID], dep_id: UUID, status: int, keep: float) -> list[UUID]:
        """Cancel the jobs whose dependency can never be met; returns those whose own dependents must be told."""
        blocked = [i for (i,) in tx.all(self.sql.lock_blocked, ids=ids)]
        jobs = [StoredJob(*r) for r in tx.all(self.sql.take_hopeless, ids=blocked)] if blocked else []
        if not jobs:
            return []
        tx.run(self.sql.drop_blocked, ids=[j.job_id for j in jobs])
        return self.record_end(tx, jobs, Ending(STATUS[JobState.CANCELED], unmet_reason(dep_id, status), None, keep))

    # time

    def promote(self, tx: Tx, limit: int) -> list[int]:
        """Move due jobs to the hot table; returns the queue of each."""
        rows = sorted(tx.all(self.sql.take_due, p_limit=limit), key=lambda r: r[-2:])
        self.move_in(tx, [StoredJob(*r[:-2]) for r in rows])
        return [r[1] for r in rows]


_NAMES = {status: state.value for state, status in STATUS.items()}


def unmet_reason(dep_id: UUID, status: int) -> str:
    """Why a dependent was canceled."""
    return f"dependency {dep_id} {_NAMES[status]}"


def in_order(rows: list[Any]) -> list[Claimed]:
    """Sort what RETURNING gave (in no particular order) by priority and age."""
    if len(rows) > 1:
        rows.sort(key=lambda r: r[1:3])
    return [Claimed(*r) for r in rows]


def restored(job: StoredJob) -> dict[str, Any]:
    """The parameters that put a StoredJob back."""
    return {f"p_{name}": value for name, value in zip(StoredJob._fields, job, strict=True)}


def _done(job: StoredJob, ending: Ending) -> dict[str, Any]:
    return {
        "p_job_id": job.job_id,
        "p_queue_id": job.queue_id,
        "p_status": ending.status,
        "p_flags": job.flags,
        "p_attempt": job.attempt,
        "p_created_at": job.created_at,
        "p_started_at": job.claimed_at,
        "p_reason": ending.reason,
        "p_result": ending.result,
        "p_meta": job.meta if ending.meta is None and ending.status == STATUS[JobState.FAILED] else ending.meta,
        "p_keep": ending.keep,
    }


def _body(job: StoredJob) -> dict[str, Any]:
    return {
        "p_job_id": job.job_id,
        "p_rank": job.rank,
        "p_max_attempts": job.max_attempts,
        "p_envelope": job.envelope,
        "p_body": job.body,
    }
