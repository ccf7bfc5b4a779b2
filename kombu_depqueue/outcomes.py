"""Outcomes told otherwise than by an ack: of jobs acked early, by their id, before the job was there; and who waits.

An ack says that a message was dealt with. What a Celery task came to is known elsewhere and at
another time; it is told here, by whoever knows it. The outcome, the result and the release of
the dependents are one transaction, as with an ack.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from kombu_depqueue.dialects import Tx
from kombu_depqueue.dialects.steps import STATUS, Ending, Key, Released
from kombu_depqueue.inserting import tell_once
from kombu_depqueue.job import JobState
from kombu_depqueue.releases import STATE
from kombu_depqueue.schema import Flag
from kombu_depqueue.statements import StoredJob
from kombu_depqueue.store import Store

__all__ = ["Outcome", "Outcomes"]

SUCCEEDED = STATUS[JobState.SUCCEEDED]


class Outcome(NamedTuple):
    """How a job stands, and what was said of it."""

    job_id: UUID
    state: JobState | None
    """Its end; None: not yet."""
    meta: bytes | None
    result: bytes | None
    reason: str | None
    finished: datetime | None


class Outcomes:
    """Ends and notes by job id."""

    def __init__(self, store: Store) -> None:
        self.store, self.sql, self.dialect = store, store.sql, store.dialect
        self.database = store.database

    # telling

    def end(self, job_id: UUID, ending: Ending, key: Key | None, connection: Any = None) -> Released | None:
        """End a job; None: it is not ours to end (another holds it, or it has succeeded).

        `key`: only while this is its place and token. Without, the job is ended wherever it is; one
        that was never there gets an end record all the same, for those that wait for it.
        """
        if key is None:
            return self._end_by_id(job_id, ending, connection)
        if ending.status == SUCCEEDED:
            return self.store.ack(key, job_id, ending, connection=connection)
        return self.store.end(key, ending, connection=connection)

    def _end_by_id(self, job_id: UUID, ending: Ending, connection: Any) -> Released | None:
        queue = self.store.queue_ids([("", self.database.settings.queue)])[0]

        def work(tx: Tx) -> Released | None:
            self.dialect.lock_ids(tx, [job_id])
            # Twice: between two looks it may move from the one table to the other.
            job = self._take(tx, job_id) or self._take(tx, job_id) or self._unseen(tx, job_id, ending, queue)
            if job is None:
                return None
            self.dialect.record_end(tx, [job], ending)
            return self.store._tell(tx, [job])

        done = self.store.have_ended(ending)
        return self.store._settle_pending(self.store._in(connection, work, done), connection)

    def _take(self, tx: Tx, job_id: UUID) -> StoredJob | None:
        for row in tx.all(self.sql.take_job, p_job_id=job_id):
            return StoredJob(*row)
        return self._take_waiting(tx, job_id)

    def _take_waiting(self, tx: Tx, job_id: UUID) -> StoredJob | None:
        tx.all(self.sql.lock_blocked, ids=[job_id])  # before `wait`: the order of locks
        rows = tx.all(self.sql.take_waiting, p_job_id=job_id)
        tx.run(self.sql.drop_blocked, ids=[job_id])
        return StoredJob(*rows[0]) if rows else None

    def _unseen(self, tx: Tx, job_id: UUID, ending: Ending, queue: int) -> StoredJob | None:
        """A job that is not live, as if it had been; None: its end stands."""
        tx.all(self.sql.lock_ended, ids=[job_id])
        for _, status, result, _ in tx.all(self.sql.ended_among, ids=[job_id]):
            if status == ending.status and result is None and ending.result is not None:
                values = {"p_result": ending.result, "p_meta": ending.meta, "p_reason": ending.reason}
                tx.run(self.sql.amend_end, p_job_id=job_id, **values)  # what is known of this very end
            if status == SUCCEEDED or ending.status != SUCCEEDED:
                return None  # the first word counts, but that it succeeded after all
            tell_once(tx, self.dialect, job_id, status)
        told = any(not met for _, _, met in tx.all(self.sql.dependents, p_dep_id=job_id))
        clock: datetime = tx.all(self.sql.clock)[0][0]
        flags = (Flag.HAS_DEPENDENTS if told else 0) | Flag.WATCHED
        return StoredJob(job_id, queue, 255, 0, 0, flags, clock, None, None, None, None, None, b"")

    def revoke(self, job_id: UUID, ending: Ending) -> tuple[StoredJob | None, Released]:
        """End a job that nobody holds; returns the job, if that was so."""

        def work(tx: Tx) -> Released:
            job = self._take_unheld(tx, job_id) or self._take_unheld(tx, job_id)
            if job is None:
                return Released(set(), [])
            self.dialect.record_end(tx, [job], ending)
            return self.store._tell(tx, [job])

        released = self.database.write(work, done=self.store.have_ended(ending))
        self.store.release_pending(released)
        return (released.ended[0] if released.ended else None), released

    def _take_unheld(self, tx: Tx, job_id: UUID) -> StoredJob | None:
        rows = tx.all(self.sql.take_unheld, p_job_id=job_id)
        return StoredJob(*rows[0]) if rows else self._take_waiting(tx, job_id)

    def note(self, job_id: UUID, meta: bytes | None, token: int | None) -> bool:
        """What the worker of a live job says of it; False: it is not live, or another has it."""

        def work(tx: Tx) -> bool:
            values = {"p_job_id": job_id, "p_meta": meta}
            hot = tx.run(self.sql.note_hot, **values, p_token=token)
            return bool(hot or tx.run(self.sql.note_cold, **values))

        return self.database.write(work, durable=False)

    def park(self, key: Key) -> bool:
        """Let a held job be running, in nobody's hands, until its id is published again.

        It stays in the hot table: there the unique index tells the publisher that it is live.
        """
        return bool(
            self.database.write(
                lambda tx: tx.run(self.sql.park, **key.held),
                done=lambda tx, _: not tx.all(self.sql.id_of_held, **key.held),
            )
        )

    def run_on(self, keys: Sequence[Key]) -> None:
        """Jobs were acked, and their outcome is owed."""
        self.database.write(lambda tx: tx.run(self.sql.mark_running, **Key.all_held(keys)))

    # asking

    def of(self, ids: Sequence[UUID]) -> dict[UUID, Outcome]:
        """How jobs stand, in one look; those that are not known are left out."""
        found: dict[UUID, Outcome] = {}
        for job_id, status, _, meta, result, reason, finished in self.database.read(
            lambda tx: tx.all(self.sql.outcomes, ids=list(ids))
        ):
            if status or job_id not in found:
                found[job_id] = Outcome(job_id, STATE.get(status), _bytes(meta), _bytes(result), reason, finished)
        return found

    def watch(self, ids: Sequence[UUID]) -> None:
        """Let the ends of these jobs, as far as they are live, be told to those who wait."""
        if not self.dialect.has_notify:
            return  # commits are seen anyway

        def work(tx: Tx) -> None:
            if len(ids) > 1:
                tx.all(self.sql.lock_jobs, ids=list(ids))  # in the order in which others do
            tx.run(self.sql.watch_hot, ids=list(ids))
            tx.run(self.sql.watch_cold, ids=list(ids))

        self.database.write(work, durable=False)

    def of_dependencies(self, job_id: UUID) -> list[Outcome]:
        """The outcomes of a job's dependencies, in the order given."""

        def work(tx: Tx) -> list[UUID]:
            return [dep for dep, _, _ in tx.all(self.sql.dependencies, p_job_id=job_id)]

        ids = self.database.read(work)
        found = self.of(ids) if ids else {}
        return [found.get(i) or Outcome(i, None, None, None, None, None) for i in ids]

    def add_dependency(self, job_id: UUID, dep: UUID, policy: int) -> bool:
        """Let a blocked job wait for one more; False: it is not blocked any more."""

        def work(tx: Tx) -> bool:
            edges = tx.all(self.sql.dependencies, p_job_id=job_id)
            if not tx.run(self.sql.count_up, p_job_id=job_id):
                return False
            edge = {"p_dep_id": dep, "p_job_id": job_id, "p_ordinal": len(edges), "p_policy": policy, "p_met": False}
            tx.many(self.sql.add_edge, [edge])
            return True

        return self.database.write(work, done=lambda tx, _: dep in _ids(tx.all(self.sql.dependencies, p_job_id=job_id)))

    def forget(self, job_id: UUID) -> None:
        """Forget what a job gave."""

        def work(tx: Tx) -> None:
            needed = tx.all(self.sql.dependents, p_dep_id=job_id)
            if needed:
                tx.run(self.sql.forget_result, p_job_id=job_id)
            else:
                tx.run(self.sql.drop_done, ids=[job_id])
                tx.run(self.sql.drop_ended_body, ids=[job_id])

        self.database.write(work)

    # memos

    def memo(self, name: str) -> bytes | None:
        """What was kept under a name."""
        rows = self.database.read(lambda tx: tx.all(self.sql.memo_by_name, p_name=name))
        return _bytes(rows[0][0]) if rows else None

    def keep(self, name: str, value: bytes, seconds: float) -> None:
        """Keep something under a name, for some time."""
        self.database.write(lambda tx: tx.run(self.sql.add_memo, p_name=name, p_value=value, p_keep=seconds))

    def drop(self, name: str) -> None:
        """Forget what was kept under a name."""
        self.database.write(lambda tx: tx.run(self.sql.drop_memo, p_name=name))


def _ids(edges: Sequence[Any]) -> list[UUID]:
    return [dep for dep, _, _ in edges]


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)
