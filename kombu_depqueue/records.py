"""What is known of jobs, and what operators do to them: status, why, retry, delete, purge, workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any
from uuid import UUID

from kombu_depqueue.dialects import Tx
from kombu_depqueue.dialects.steps import STATUS, Ending, Key, Released, unmet_reason
from kombu_depqueue.entry import Entry, decode_json
from kombu_depqueue.errors import NotExist, NotPending
from kombu_depqueue.inserting import insert_entries
from kombu_depqueue.job import DependencyResult, JobState, JobStatus, Why, WorkerInfo
from kombu_depqueue.releases import CANCELED, RELEASE_LIMIT, STATE, hot_state
from kombu_depqueue.schema import Flag
from kombu_depqueue.signing import signed_run_at
from kombu_depqueue.statements import StoredJob
from kombu_depqueue.store import Store

__all__ = ["Records"]

_Edge = tuple[UUID, int, bool]

WHY_LIMIT = 1000
"""Dependencies that `why` looks at one by one."""


class Records:
    """Reads and mends what the store has written."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.database = store.database
        self.sql = store.sql

    # status

    def status(self, job_id: UUID) -> JobStatus:
        """What is known of a job. Raises NotExist."""
        status = self.database.read(lambda tx: self._find(tx, job_id))
        if status is None:
            raise NotExist(job_id)
        return status

    def _find(self, tx: Tx, job_id: UUID) -> JobStatus | None:
        for _ in range(2):  # a job moves from table to table between two looks
            found = self._live(tx, job_id) or self._waiting(tx, job_id) or self._ended(tx, job_id)
            if found is not None:
                edges: list[_Edge] = tx.all(self.sql.dependencies, p_job_id=job_id)
                dependents: list[_Edge] = tx.all(self.sql.dependents, p_dep_id=job_id)
                return JobStatus(
                    job_id=job_id,
                    depends_on=tuple(i for i, _, _ in edges),
                    dependents=tuple(i for i, _, _ in dependents),
                    **found,
                )
        return None

    def _live(self, tx: Tx, job_id: UUID) -> dict[str, Any] | None:
        for row in tx.all(self.sql.live_status, p_job_id=job_id):
            _, rank, _, attempt, most, created, claimed, run_at, consumer, *_, name, channel, _, flags = row
            state = hot_state(consumer is not None, flags)
            times = {"queued": created, "started": claimed, "run_at": run_at}
            counts = {"attempt": attempt, "max_attempts": most, "priority": 255 - rank}
            return {"job_type": name, "channel": channel, "state": state, **times, **counts}
        return None

    def _waiting(self, tx: Tx, job_id: UUID) -> dict[str, Any] | None:
        for _, rank, due, attempt, most, created, run_at, claimed, name, channel, _ in tx.all(
            self.sql.waiting_status, p_job_id=job_id
        ):
            state = JobState.BLOCKED if due is None else JobState.SCHEDULED
            counts = {"attempt": attempt, "max_attempts": most, "priority": 255 - rank}
            times = {"queued": created, "started": claimed, "run_at": run_at if due is None else due}
            return {"job_type": name, "channel": channel, "state": state, **times, **counts}
        return None

    def _ended(self, tx: Tx, job_id: UUID) -> dict[str, Any] | None:
        for row in tx.all(self.sql.ended_status, p_job_id=job_id):
            _, number, attempt, created, started, finished, reason, result, rank, most, name, channel = row
            state = STATE[number]
            times = {"queued": created, "started": started, "finished": finished}
            counts = {
                "attempt": attempt,
                "max_attempts": most or 0,
                "priority": 255 - (255 if rank is None else rank),
            }
            end = {"canceled": state is JobState.CANCELED, "reason": reason, "result": _result(result)}
            return {"job_type": name, "channel": channel, "state": state, **times, **counts, **end}
        return None

    def dependency_results(self, job_id: UUID, *, check: bool = True) -> list[DependencyResult]:
        """How the dependencies of a job stand, in order. Raises NotExist."""

        def work(tx: Tx) -> list[DependencyResult]:
            return self._standings(tx, [i for i, _, _ in tx.all(self.sql.dependencies, p_job_id=job_id)])

        found = self.database.read(work)
        if not found and check:
            self.store.state_of(job_id)  # raises NotExist
        return found

    def dependency_ids(self, job_id: UUID) -> tuple[UUID, ...]:
        """The dependencies of a job, in order."""
        return tuple(i for i, _, _ in self.database.read(lambda tx: tx.all(self.sql.dependencies, p_job_id=job_id)))

    def _standings(self, tx: Tx, ids: Sequence[UUID]) -> list[DependencyResult]:
        if not ids:
            return []
        known: dict[UUID, DependencyResult] = {}
        for i, held, flags in tx.all(self.sql.hot_among, ids=ids):
            known[i] = DependencyResult(i, hot_state(held, flags))
        for i, delayed in tx.all(self.sql.waiting_among, ids=ids):
            known[i] = DependencyResult(i, JobState.SCHEDULED if delayed else JobState.BLOCKED)
        # Last, so that one which ends meanwhile is found here.
        for i, number, result, reason in tx.all(self.sql.ended_among, ids=ids):
            known[i] = DependencyResult(i, STATE[number], _result(result), reason)
        return [known[i] for i in ids if i in known]

    def why(self, job_id: UUID) -> Why:
        """What keeps a job from running. Raises NotExist."""
        why = self.database.read(lambda tx: self._why(tx, job_id))
        if why is None:
            raise NotExist(job_id)
        return why

    def _why(self, tx: Tx, job_id: UUID) -> Why | None:
        for row in tx.all(self.sql.live_status, p_job_id=job_id):
            queue, rank, seq, *_, consumer, holder, until, _, _, paused, flags = row
            state = hot_state(consumer is not None, flags)
            if consumer is not None:
                return Why(job_id, state, holder=holder or "(gone)", leased_until=until, paused=paused)
            ahead = tx.all(self.sql.count_ahead, p_queue=queue, p_rank=rank, p_seq=seq)[0][0]
            return Why(job_id, JobState.READY, paused=paused, ahead=ahead)
        for row in tx.all(self.sql.waiting_status, p_job_id=job_id):
            due, run_at, paused = row[2], row[6], row[10]
            if due is not None:
                return Why(job_id, JobState.SCHEDULED, run_at=due, paused=paused)
            unmet, never = self._unmet(tx, job_id)
            return Why(job_id, JobState.BLOCKED, unmet=unmet, never=never, run_at=run_at, paused=paused)
        for i, number, _, reason in tx.all(self.sql.ended_among, ids=[job_id]):
            return Why(i, STATE[number], reason=reason)
        return None

    def _unmet(self, tx: Tx, job_id: UUID) -> tuple[tuple[DependencyResult, ...], tuple[DependencyResult, ...]]:
        masks = {i: mask for i, mask, met in tx.all(self.sql.dependencies, p_job_id=job_id) if not met}
        unmet, never = [], []
        for one in self._standings(tx, list(masks)):
            if not one.state.is_finished:
                unmet.append(one)
            elif not masks[one.job_id] >> STATUS[one.state] & 1:
                never.append(one)
        return tuple(unmet[:WHY_LIMIT]), tuple(never[:WHY_LIMIT])

    # retry

    def retry(self, job_id: UUID, *, subtree: bool) -> set[UUID]:
        """Re-open an ended job (and what was canceled because of it). Raises NotExist, NotPending."""

        def work(tx: Tx) -> set[UUID]:
            entries = self._reopen(tx, job_id, subtree)
            names = {(e.channel, e.queue) for e in entries.values()}
            queues = self.store._add_queues(tx, names)
            graph = {i: [d for d, _ in e.edges if d in entries] for i, e in entries.items()}
            in_order = [entries[i] for i in TopologicalSorter(graph).static_order()]
            insert_entries(tx, self.store.dialect, in_order, queues)
            return set(entries)

        state = self.store.state_of(job_id)
        if not state.is_finished or state is JobState.SUCCEEDED:
            raise NotPending(job_id, detail=f"it is {state}")
        return self.database.write(work, done=lambda tx, _: self.store.standing(tx, [job_id]).get(job_id) is None)

    def _reopen(self, tx: Tx, job_id: UUID, subtree: bool) -> dict[UUID, Entry]:
        entries: dict[UUID, Entry] = {}
        todo = [job_id]
        while todo:
            one = todo.pop()
            if one in entries:
                continue
            self._finish_release(tx, one)
            dependents = tx.all(self.sql.dependents, p_dep_id=one) if subtree else []
            entry, status = self._reopen_one(tx, one, entries)
            entries[one] = entry
            ended = tx.all(self.sql.ended_among, ids=[i for i, _, _ in dependents]) if dependents else []
            todo += [i for i, number, _, why in ended if number == CANCELED and why == unmet_reason(one, status)]
        self._check_reopened(tx, entries)
        return entries

    def _finish_release(self, tx: Tx, job_id: UUID) -> None:
        """Dependents not told yet must be told how the job ended before it is re-opened."""
        notes = [job_id] if tx.all(self.sql.release_of, p_dep_id=job_id) else []
        while notes:
            notes = self.store.dialect.release(tx, notes, RELEASE_LIMIT, self.store.keep_long).pending

    def _reopen_one(self, tx: Tx, job_id: UUID, reopened: Mapping[UUID, Entry]) -> tuple[Entry, int]:
        status = self._ended(tx, job_id)
        rows = tx.all(self.sql.take_ended, p_job_id=job_id)
        bodies = tx.all(self.sql.take_ended_body, p_job_id=job_id)
        if not rows or not bodies or status is None:
            raise NotPending(job_id, detail="it was re-opened or deleted meanwhile")
        _, number, flags, _, _ = rows[0]
        rank, most, envelope, body = bodies[0]
        edges = [(dep, mask) for dep, mask, _ in tx.all(self.sql.dependencies, p_job_id=job_id)]
        self._check_reason(tx, job_id, status["reason"], [dep for dep, _ in edges if dep not in reopened])
        tx.run(self.sql.drop_edges, ids=[job_id])
        tx.run(self.sql.meet_edges, p_dep_id=job_id, p_mask=1 << number)
        entry = Entry(
            job_id=job_id,
            id_is_new=True,
            channel=status["channel"],
            queue=status["job_type"],
            body=body,
            envelope=envelope,
            rank=rank,
            max_attempts=most,
            run_at=signed_run_at(envelope),
            edges=edges,
            reopened=True,
            hold=bool(flags & Flag.HOLD),
            flags=flags & (Flag.HAS_DEPENDENTS | Flag.JOINS | Flag.WATCHED),
        )
        return entry, number

    def _check_reason(self, tx: Tx, job_id: UUID, reason: str | None, deps: Sequence[UUID]) -> None:
        """A dependency that was in the way must still be kept; of the others it is enough that they were met."""
        blamed = [dep for dep in deps if reason in {unmet_reason(dep, status) for status in STATE}]
        if blamed and not tx.all(self.sql.known_ids, ids=blamed):
            raise NotPending(job_id, detail=f"{reason}, and its record is kept no longer")

    def _check_reopened(self, tx: Tx, entries: dict[UUID, Entry]) -> None:
        """A job whose own dependency is still in the way would only be canceled again."""
        for job_id, entry in entries.items():
            if entry.hold:
                continue
            outside = [dep for dep, _ in entry.edges if dep not in entries]
            ended = {i: number for i, number, _, _ in tx.all(self.sql.ended_among, ids=outside)} if outside else {}
            for dep, mask in entry.edges:
                if dep in ended and not mask >> ended[dep] & 1:
                    raise NotPending(job_id, detail=f"{unmet_reason(dep, ended[dep])}: retry that first")

    # delete and purge

    def delete(self, job_id: UUID) -> int:
        """Delete a root and the dependencies that nobody else needs. Raises NotExist, NotPending."""

        def work(tx: Tx) -> int:
            deleted, todo = 0, [job_id]
            while todo:
                one = todo.pop()
                below = [dep for dep, _, _ in tx.all(self.sql.dependencies, p_job_id=one)]
                deleted += self._delete_one(tx, one)
                # Only now: whoever enqueues a dependent has it locked until the edge can be seen.
                if tx.all(self.sql.dependents, p_dep_id=one):
                    raise NotPending(one, detail="other jobs depend on it")
                todo += [dep for dep in below if not tx.all(self.sql.dependents, p_dep_id=dep)]
            return deleted

        self.store.state_of(job_id)  # raises NotExist
        while True:
            try:
                return self.database.write(work, done=lambda tx, _: job_id not in self.store.standing(tx, [job_id]))
            except NotPending as error:
                if error.job_id == job_id:
                    raise
                # One that nobody else needed was just given another dependent: it stays.

    def _delete_one(self, tx: Tx, job_id: UUID) -> int:
        found = len(tx.all(self.sql.take_job, p_job_id=job_id))
        tx.run(self.sql.drop_blocked, ids=[job_id])
        found += len(tx.all(self.sql.take_waiting, p_job_id=job_id))
        found += tx.run(self.sql.drop_done, ids=[job_id])
        tx.run(self.sql.drop_ended_body, ids=[job_id])
        tx.run(self.sql.drop_edges, ids=[job_id])
        tx.run(self.sql.drop_release, p_dep_id=job_id)
        return min(found, 1)

    def purge(self, queue: int, reason: str, limit: int = 1000) -> int:
        """Cancel up to `limit` pending jobs of a queue."""
        ending = Ending(CANCELED, reason, None, self.store.keep_long)

        def work(tx: Tx) -> Released:
            # Those that wait first: one that becomes ready meanwhile is found by the second look.
            jobs = [StoredJob(*r) for r in tx.all(self.sql.take_waiting_of, p_queue=queue, p_limit=limit)]
            if jobs:
                tx.run(self.sql.drop_blocked, ids=[job.job_id for job in jobs if job.job_id])
            if len(jobs) < limit:
                rows = tx.all(self.sql.take_ready_of, p_queue=queue, p_limit=limit - len(jobs))
                jobs += [StoredJob(*r) for r in rows]
            self.store.dialect.record_end(tx, jobs, ending)
            return self.store._tell(tx, jobs)

        released = self.database.write(work, done=self.store.have_ended(ending))
        self.store.release_pending(released)
        return len(released.ended)

    def roots(self) -> list[UUID]:
        """All jobs that nobody depends on."""
        return sorted({i for (i,) in self.database.read(lambda tx: tx.all(self.sql.roots))})

    def dead(self, limit: int) -> list[tuple[UUID, str, str, datetime]]:
        """The latest jobs that are dead or were lost."""
        return [tuple(row) for row in self.database.read(lambda tx: tx.all(self.sql.dead, p_limit=limit))]

    # queues

    def set_paused(self, queue: int, paused: bool) -> None:
        """Pause or resume a queue."""
        self.database.write(lambda tx: tx.run(self.sql.set_paused, p_queue=queue, p_paused=paused))

    # leases and workers

    def old_leases(self, age: float) -> list[tuple[int, int, int, int]]:
        """Key and token of the leases not renewed for so many seconds."""
        return self.database.read(lambda tx: tx.all(self.sql.old_leases, p_age=age))

    def holder_of(self, key: Key) -> tuple[UUID, int | None, int | None] | None:
        """The job, the consumer and its kind behind a token; None: it is not current."""
        rows = self.database.read(lambda tx: tx.all(self.sql.id_of_held, **key.held))
        return rows[0] if rows else None

    def token_of(self, job_id: UUID) -> tuple[Key, int] | None:
        """Who holds a job: its key, and the attempt; None: nobody."""
        rows = self.database.read(lambda tx: tx.all(self.sql.token_of, p_job_id=job_id))
        return (Key(*rows[0][:4]), rows[0][4]) if rows else None

    def workers(self, age: float) -> list[WorkerInfo]:
        """Workers and consumers not seen for so many seconds."""
        rows = self.database.read(lambda tx: tx.all(self.sql.worker_list, p_age=age))
        return [
            WorkerInfo(UUID(int=i), name, channel, decode_json("info", info) if info else {}, started, seen)
            for i, name, channel, info, started, seen in rows
        ]

    def touch_worker(self, worker: int) -> bool:
        """A worker was seen; False: it is not registered."""
        return bool(self.database.write(lambda tx: tx.run(self.sql.touch_worker, p_id=worker)))

    def drop_worker(self, worker: int) -> bool:
        """Forget a worker; False: it is not registered."""
        dropped = self.database.write(
            lambda tx: tx.run(self.sql.drop_worker, p_id=worker),
            done=lambda tx, found: bool(found) and not tx.run(self.sql.touch_worker, p_id=worker),
        )
        return bool(dropped)


def _result(data: bytes | None) -> Any:
    return None if data is None else decode_json("result", bytes(data))
