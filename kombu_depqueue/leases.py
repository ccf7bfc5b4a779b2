"""Leases, their holders, and what time does to jobs; one method, one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from math import inf
from operator import itemgetter
from typing import Any, TypeVar
from uuid import UUID

from kombu_depqueue.deadletters import sort_out
from kombu_depqueue.dialects import Tx
from kombu_depqueue.dialects.steps import Claimed, Ending, Key, Released
from kombu_depqueue.releases import Releases
from kombu_depqueue.schema import ConsumerKind
from kombu_depqueue.statements import StoredJob

__all__ = ["Leases"]

T = TypeVar("T")

CUT = 1000
"""Jobs that a queue over its maximal length loses in one step."""


class Leases(Releases):
    """Consumers and clocks."""

    # what was claimed, and must not be handed out

    def _without_expired(self, claimed: Sequence[Claimed]) -> list[Claimed]:
        """End those that had expired when they were claimed, as if they had not been; returns the others."""
        keys = [c.key for c in claimed if c.expired]
        if not keys:
            return list(claimed)

        def work(tx: Tx) -> Released:
            jobs = [StoredJob(*row) for key in keys for row in tx.all(self.sql.take_held, **key.held)]
            jobs = [job._replace(attempt=job.attempt - 1, claimed_at=None) for job in jobs]
            return self._bury(tx, jobs, self.expired)

        released = self.database.write(work)
        self.release_pending(released)
        self.made_ready(released.queues)
        return [c for c in claimed if not c.expired]

    def _without_unfit(self, claimed: Sequence[Claimed]) -> list[Claimed]:
        """End those whose payload is too large to be fetched, and keep it where it is; returns the others."""
        keys = [c.key for c in claimed if c.is_unfit]
        if not keys:
            return list(claimed)
        why = f"its payload is larger than max_body_bytes = {self.database.settings.max_body_bytes:,}, or no bytes"
        ending = self.dead(why, "rejected")._replace(letter=None)

        def work(tx: Tx) -> Released:
            jobs = []
            for key in keys:
                for row in tx.all(self.sql.held_facts, **key.held):
                    job = StoredJob(*row)._replace(body=b"")
                    self.dialect.record_end(tx, [job], ending)
                    tx.run(self.sql.drop_ended_body, ids=[job.job_id] if job.job_id else [])
                    tx.run(self.sql.keep_payload, **key.held)
                    tx.run(self.sql.drop_held, **key.held)
                    jobs.append(job)
            return self._tell(tx, jobs)

        released = self.database.write(work)
        self.release_pending(released)
        self.made_ready(released.queues)
        return [c for c in claimed if not c.is_unfit]

    # time

    def promote(self, limit: int = 1000) -> list[int]:
        """Make due jobs ready; returns the queue of each."""
        return self.database.write(lambda tx: self.dialect.promote(tx, limit), begin=False)

    def next_events(self) -> tuple[float, float]:
        """Seconds until the next delayed job is due, and until the next lease expires (negative: overdue)."""
        due, expiry = self.database.read(lambda tx: tx.all(self.sql.next_events))[0]
        return inf if due is None else due, inf if expiry is None else expiry

    def expire(self, limit: int = 1000) -> tuple[set[int], bool]:
        """End pending jobs that have expired; returns the queues that got jobs, and whether there may be more."""

        def work(tx: Tx) -> Released:
            jobs = [
                StoredJob(*r)
                for s in (self.sql.take_expired, self.sql.take_expired_ready)
                for r in tx.all(s, p_limit=limit)
            ]
            full.append(len(jobs) >= limit)
            if not jobs:
                return Released(set(), [])
            ids = [job.job_id for job in jobs if job.job_id]
            blocked = {i for (i,) in tx.all(self.sql.lock_blocked, ids=ids)}
            tx.run(self.sql.drop_blocked, ids=ids)
            released = self._bury(tx, [job for job in jobs if job.job_id not in blocked], self.expired)
            # Nowhere may a job be had before its dependencies have finished.
            ended = self._bury(tx, [job for job in jobs if job.job_id in blocked], self.expired._replace(letter=None))
            released.add(ended)
            return released

        full: list[bool] = []
        released = self.database.write(work)
        self.release_pending(released)
        return released.queues, full[-1]

    def cut(self, queue: int, most: int) -> set[int]:
        """Keep a queue within its maximal length: the oldest ready jobs go; returns the queues that got jobs."""
        released = self.database.write(lambda tx: self._cut(tx, queue, most))
        self.release_pending(released)
        return released.queues

    def _cut(self, tx: Tx, queue: int, most: int) -> Released:
        over = tx.all(self.sql.count_ready, p_queue=queue)[0][0] - most
        if over <= 0:
            return Released(set(), [])
        rows = sorted(tx.all(self.sql.take_oldest_ready, p_queue=queue, p_limit=min(over, CUT)), key=itemgetter(-1))
        return self._bury(tx, [StoredJob(*row[:-1]) for row in rows], self.dead("maxlen", "maxlen"))

    def _bury(self, tx: Tx, jobs: Sequence[StoredJob], ending: Ending) -> Released:
        """End jobs that were taken out; those whose queue has a dead-letter exchange go on where that leads."""
        if not jobs:
            return Released(set(), [])
        if ending.letter is None:
            self.dialect.record_end(tx, jobs, ending)
            return self._tell(tx, jobs)
        letters = sort_out(tx, self.dialect, jobs, ending.letter)
        self.dialect.record_end(tx, letters.left, ending)
        released = self._tell(tx, letters.left)
        self.dialect.move_in(tx, letters.moved)
        released.queues.update(job.queue_id for job in letters.moved)
        for queue, most in letters.bounded.items():
            # Ends: whatever was cut twice by the same queue has gone round, and goes no further.
            released.add(self._cut(tx, queue, most))
        return released

    def prune(self, limit: int = 1000) -> int:
        """Forget records of ended jobs that are out of time; one process at a time, others have nothing to do."""

        def work(tx: Tx) -> int:
            first = [i for (i,) in tx.all(self.sql.first_prunable)]
            ids = [i for (i,) in tx.all(self.sql.prunable, p_limit=limit)] if first else []
            if ids[:1] != first:  # who has locked it prunes, and locks are skipped
                held_off, self.held_off = self.held_off, first
                if held_off != first:
                    return 0
                # It is still there: whoever has locked it does something else, for a long time perhaps.
            if ids:
                for statement in (self.sql.drop_done, self.sql.drop_ended_body, self.sql.drop_edges):
                    tx.run(statement, ids=ids)
            tx.run(self.sql.drop_old_memos)
            return len(ids)

        return self.database.write(work)

    # consumers

    def add_consumer(
        self, consumer: int, kind: int, name: str, lease: float | None, channel: str, info: str | None
    ) -> None:
        """Register a consumer, a lease that stands by itself, or a worker."""
        values = {
            "p_id": consumer,
            "p_kind": kind,
            "p_name": name[:255],
            "p_channel": channel,
            "p_info": info,
            "p_lease": lease,
            "p_orphan_after": None,
        }
        self.database.write(lambda tx: self._add_consumer(tx, **values))

    def _add_consumer(self, tx: Tx, **values: Any) -> None:
        version = self.database.works_as
        if version >= 2:
            tx.run(self.sql.add_consumer, **values, p_schema_version=version)
        else:
            tx.run(self.sql.add_consumer_1, **values)

    def beat(self, consumers: Sequence[int], lease: float, waiting: bool) -> bool:
        """Renew leases; False: one of them was declared dead."""
        done = self.database.write(
            lambda tx: tx.run(self.sql.beat, ids=list(consumers), p_lease=lease, p_waiting=waiting),
            durable=False,
        )
        return done == len(set(consumers))

    def set_waiting(self, consumer: int, waiting: bool) -> None:
        """Ask (or not) to be woken up."""
        self.database.write(lambda tx: tx.run(self.sql.set_waiting, p_id=consumer, p_waiting=waiting), durable=False)

    def set_session(self, consumer: int, session: str | None) -> None:
        """Say which session of the database ends with the consumer's process."""
        self.database.write(lambda tx: tx.run(self.sql.set_session, p_id=consumer, p_session=session), durable=False)

    def ended_sessions(self) -> list[tuple[int, str, Any]]:
        """Consumers whose session has ended: number, session, last sign of life."""
        return self.database.read(self.dialect.ended_sessions)

    def declare_dead(self, consumer: int, session: str, beat_at: Any) -> bool:
        """Let a consumer's lease expire now; False: it has shown a sign of life."""
        values = {"p_id": consumer, "p_session": session, "p_beat_at": beat_at}
        return bool(self.database.write(lambda tx: tx.run(self.sql.declare_dead, **values)))

    def rejoin(self, consumer: int, name: str, lease: float, held: Sequence[tuple[UUID, int]]) -> None:
        """Live again, and lease again what is held and was not handed to another."""

        def work(tx: Tx) -> None:
            if not tx.run(self.sql.revive, p_id=consumer, p_lease=lease):
                values = {"p_id": consumer, "p_kind": ConsumerKind.QUEUE, "p_name": name[:255]}
                values |= {"p_channel": "", "p_info": None, "p_orphan_after": self.database.settings.orphan_after}
                self._add_consumer(tx, **values, p_lease=lease)
            for (orphans,) in tx.all(self.sql.orphans_of, p_name=str(consumer)):
                tx.run(self.sql.pass_running, p_from=orphans, p_consumer=consumer)
            if held:
                ids, tokens = [i for i, _ in held], [t for _, t in held]
                tx.run(self.sql.retake, ids=ids, tokens=tokens, p_consumer=consumer)

        self.database.write(work)

    def stand_alone(self, key: Key, consumer: int, kind: int, name: str, lease: float) -> bool:
        """Let a hand-out stand under a lease of its own; False: the token is not current."""

        def work(tx: Tx) -> bool:
            if not tx.run(self.sql.pass_lease, **key.held, p_consumer=consumer):
                return False
            values = {"p_id": consumer, "p_kind": kind, "p_name": name[:255], "p_channel": "", "p_info": None}
            values["p_orphan_after"] = self.database.settings.orphan_after
            self._add_consumer(tx, **values, p_lease=lease)
            return True

        return self.database.write(work)

    def set_lease(self, consumer: int, lease: float) -> bool:
        """Renew a lease that stands by itself; False: it has expired and was swept."""
        return bool(self.database.write(lambda tx: tx.run(self.sql.set_lease, p_id=consumer, p_lease=lease)))

    def leave(self, consumers: Sequence[int]) -> set[int]:
        """Give everything back and be gone; returns the queues that got jobs."""

        def work(tx: Tx) -> Released:
            released = self._free(tx, list(consumers))
            tx.run(self.sql.drop_consumers, ids=list(consumers))
            tx.run(self.sql.drop_subscriptions, ids=list(consumers))
            return released

        released = self.database.write(work)
        self.release_pending(released)
        return released.queues

    def rescue(self, grace: float) -> set[int]:
        """Release the jobs of consumers whose lease has expired; returns the queues that got jobs."""

        def work(tx: Tx) -> Released:
            expired = tx.all(self.sql.expired_consumers)
            if not expired:
                return Released(set(), [])
            released = self._free(tx, [i for i, kind in expired if kind != ConsumerKind.ORPHANS])
            released.add(self._give_up(tx, [i for i, kind in expired if kind == ConsumerKind.ORPHANS]))
            gone = [i for i, kind in expired if kind != ConsumerKind.QUEUE]
            dying = [i for i, kind in expired if i not in gone]
            if gone:
                tx.run(self.sql.drop_consumers, ids=gone)
            if dying:
                tx.run(self.sql.abandon_queues, ids=dying)
                tx.run(self.sql.drop_subscriptions, ids=dying)
                tx.run(self.sql.bury_consumers, ids=dying, p_grace=grace)
            return released

        released = self.database.write(work)
        self.release_pending(released)
        return released.queues

    def _free(self, tx: Tx, consumers: list[int]) -> Released:
        released = Released(set(), [])
        if not consumers:
            return released
        for one, orphan_after in tx.all(self.sql.holders_of_running, ids=consumers):
            self._orphan(tx, one, self.database.settings.orphan_after if orphan_after is None else orphan_after)
        for job in [StoredJob(*r) for r in tx.all(self.sql.take_exhausted, ids=consumers)]:
            why = f"{job.attempt} of {job.max_attempts} attempts used, the last lease expired"
            released.add(self._bury(tx, [job], self.dead(why, "delivery_limit")))
        released.queues.update(q for (q,) in tx.all(self.sql.free_held, ids=consumers))
        return released

    def _orphan(self, tx: Tx, consumer: int, orphan_after: float) -> None:
        """Whoever ran the jobs that a lost consumer had acked early may still be there, and tell their outcome."""
        orphans = secrets.randbits(62) + 1
        tx.run(self.sql.pass_running, p_from=consumer, p_consumer=orphans)
        values = {"p_id": orphans, "p_kind": ConsumerKind.ORPHANS, "p_name": str(consumer), "p_channel": ""}
        self._add_consumer(tx, **values, p_info=None, p_lease=orphan_after, p_orphan_after=None)

    def _give_up(self, tx: Tx, orphans: list[int]) -> Released:
        if not orphans:
            return Released(set(), [])
        jobs = [StoredJob(*r) for r in tx.all(self.sql.take_running_of, ids=orphans)]
        return self._bury(tx, jobs, self.lost)
