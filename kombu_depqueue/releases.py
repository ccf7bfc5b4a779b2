"""How jobs end in the database: their dependents told, step by step; and what state a job is in."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar
from uuid import UUID

from kombu_depqueue.database import Database
from kombu_depqueue.dialects import Tx
from kombu_depqueue.dialects.steps import STATUS, Ending, Released
from kombu_depqueue.errors import Canceled, NotExist, NotRunning
from kombu_depqueue.job import JobState
from kombu_depqueue.schema import Flag
from kombu_depqueue.statements import StoredJob

__all__ = ["CANCELED", "RELEASE_LIMIT", "STATE", "Releases", "hot_state"]

T = TypeVar("T")

RELEASE_LIMIT = 1000
"""Dependents told in one step: about 30 ms on PostgreSQL."""

CANCELED = STATUS[JobState.CANCELED]


LOST = "lost: acked before its outcome, and its worker died"

STATE = {number: state for state, number in STATUS.items()}


def hot_state(held: bool, flags: int) -> JobState:
    """The state of a job in the hot table."""
    if not held:
        return JobState.READY
    return JobState.RUNNING if flags & Flag.RUNNING else JobState.LEASED


class Releases:
    """Ends and releases; the base of the store."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.dialect = database.dialect
        self.sql = database.dialect.sql
        self.keep = database.settings.retention
        self.keep_long = database.settings.result_retention
        self.made_ready: Callable[[set[int]], None] = lambda queues: None
        """Called when jobs that nobody wants have become ready in other queues."""
        self.claim_seconds = 0.0
        """How long the last claim took in the database, waiting for its lock not counted."""
        self.peeks = database.dialect.has_change_counter or database.dialect.look_interval is not None
        """Reading is so much cheaper than claiming that one looks first."""
        self.held_off: list[UUID] = []
        """The record that another had locked when this process last came to prune."""
        self._queues: dict[tuple[str, str], int] = {}
        self._fleeting: set[tuple[str, str]] = set()
        """Queues that Kombu may delete for good: their numbers are looked up each time."""

    def _in(self, connection: Any, work: Callable[[Tx], T], done: Callable[[Tx, T], bool]) -> T:
        if connection is None:
            return self.database.write(work, done=done)

        def join(tx: Tx) -> T:
            self.dialect.check_isolation(tx)
            answer = work(tx)
            if isinstance(answer, Released):
                self.hint_at_commit(tx, answer.queues)
            return answer

        return self.database.join(connection, join)

    def hint_at_commit(self, tx: Tx, queues: Collection[int]) -> None:
        """Wake consumers by the caller's transaction, at the moment when there is something to see."""
        if queues and self.dialect.has_notify and self.database.settings.notify:
            self.dialect.hint(tx, sorted(queues))

    def dead(self, why: str, letter: str) -> Ending:
        """How a job ends that will not be tried again; see `Ending.letter`."""
        return Ending(STATUS[JobState.FAILED], f"dead: {why}", None, self.keep_long, letter)

    @property
    def lost(self) -> Ending:
        """How a job ends that was acked early, and whose worker died before it told the outcome."""
        return Ending(STATUS[JobState.FAILED], LOST, None, self.keep_long)

    @property
    def expired(self) -> Ending:
        """How a job ends that nobody took in time."""
        return Ending(STATUS[JobState.EXPIRED], "expired", None, self.keep_long, "expired")

    def success(self, result: bytes | None) -> Ending:
        """How a job ends that did what it should."""
        return Ending(STATUS[JobState.SUCCEEDED], None, result, self.keep if result is None else self.keep_long)

    def state_of(self, job_id: UUID) -> JobState:
        """The state of a job. Raises NotExist."""

        def work(tx: Tx) -> JobState | None:
            for _ in range(2):  # a job moves from table to table between two looks
                if hot := tx.all(self.sql.hot_among, ids=[job_id]):
                    return hot_state(*hot[0][1:])
                if cold := tx.all(self.sql.waiting_among, ids=[job_id]):
                    return JobState.SCHEDULED if cold[0][1] else JobState.BLOCKED
                if ended := tx.all(self.sql.ended_among, ids=[job_id]):
                    return STATE[ended[0][1]]
            return None

        state = self.database.read(work)
        if state is None:
            raise NotExist(job_id)
        return state

    def not_running(self, job_id: UUID) -> Exception:
        """Why a job cannot be finished."""
        try:
            state = self.state_of(job_id)
        except NotExist as error:
            return error
        return Canceled(job_id) if state is JobState.CANCELED else NotRunning(job_id, detail=f"it is {state}")

    def standing(self, tx: Tx, ids: Sequence[UUID]) -> dict[UUID, tuple[Any, ...] | None]:
        """How each of the jobs has ended (status, result, reason; None: not yet), after all who are changing it."""
        live = {i: None for lock in (self.sql.lock_jobs, self.sql.lock_waiting) for i, _ in tx.all(lock, ids=ids)}
        tx.all(self.sql.lock_ended, ids=ids)
        return live | {i: tuple(end) for i, *end in tx.all(self.sql.ended_among, ids=ids)}

    def have_ended(self, ending: Ending) -> Callable[[Tx, Released | None], bool]:
        """For `Database.write`: a try took place if the jobs it ended have ended so (untracked ones do not tell)."""

        def done(tx: Tx, answer: Released | None) -> bool:
            ids = [] if answer is None else [job.job_id for job in answer.ended if job.job_id is not None]
            standing = self.standing(tx, ids)
            return bool(ids) and all(standing.get(i) == (ending.status, ending.result, ending.reason) for i in ids)

        return done

    # release

    def _tell(self, tx: Tx, jobs: Sequence[StoredJob]) -> Released:
        """Tell the dependents of jobs just ended: in their transaction up to the limit (in a caller's, all)."""
        notes = [j.job_id for j in jobs if j.flags & Flag.HAS_DEPENDENTS and j.job_id]
        released = Released(set(), [], jobs)
        while notes:
            step = self.dialect.release(tx, notes, RELEASE_LIMIT, self.keep_long)
            released.queues.update(step.queues)
            notes = step.pending
            if tx.own:
                break
        released.pending.extend(notes)
        return released

    def _settle_pending(self, released: Released | None, connection: Any) -> Released | None:
        if released is not None and connection is None:
            self.release_pending(released)
        return released

    def release_pending(self, released: Released, seconds: float = 0.5) -> None:
        """Go on telling dependents, step by step; what is left after some time, upkeep does."""
        until = time.monotonic() + seconds
        while released.pending and time.monotonic() < until:
            notes = list(released.pending)
            step = self._release_step(notes)
            released.queues.update(step.queues)
            released.pending[:] = step.pending

    def _release_step(self, notes: Sequence[UUID]) -> Released:
        return self.database.write(lambda tx: self.dialect.release(tx, notes, RELEASE_LIMIT, self.keep_long))

    def release_any(self) -> Released | None:
        """Work on notes that were left over; None: there are none."""

        def work(tx: Tx) -> Released | None:
            notes = [row[0] for row in tx.all(self.sql.any_release)]
            return self.dialect.release(tx, notes, RELEASE_LIMIT, self.keep_long) if notes else None

        return self.database.write(work)
