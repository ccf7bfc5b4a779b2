"""The life of a job in the database: one method, one transaction.

`records.py` has the rest: status, retry, delete, workers. Nothing here waits
(but for the database), keeps a thread, or knows what a reservation is.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from kombu_depqueue.arrivals import Arrivals
from kombu_depqueue.dialects import Tx
from kombu_depqueue.dialects.steps import Claimed, Ending, Key, Lane, Released, Wanted, restored
from kombu_depqueue.errors import Duplicate, NotExist, NotPending
from kombu_depqueue.releases import CANCELED, RELEASE_LIMIT
from kombu_depqueue.schema import Flag
from kombu_depqueue.statements import StoredJob

__all__ = ["Acks", "Store"]

T = TypeVar("T")


@dataclass(slots=True)
class Acks:
    """Jobs to be acked without results, and then what became of them."""

    held: Sequence[tuple[Key, UUID | None]]
    own: Mapping[int, Ending] = field(default_factory=dict)
    """By order number: how those end that have a result (as succeeded; others see `Store.end`)."""
    done: bool = False
    ended: set[int] = field(default_factory=set)
    """Order numbers of those that were still held."""
    queues: set[int] = field(default_factory=set)
    """Queues in which dependents became ready."""


class Store(Arrivals):
    """The steps of a job's life."""

    # claim

    def claim(
        self,
        consumer: int,
        token: int,
        limit: int,
        *,
        queues: Sequence[int] = (),
        lanes: Sequence[Lane] = (),
        acks: Acks | None = None,
    ) -> list[Claimed]:
        """Lease up to `limit` ready jobs of some queues, or behind cursors; `acks` travel with it.

        Expired ones among them are ended instead. A claim whose answer is lost may have leased
        jobs: undo it with `unclaim`.
        """

        wanted = Wanted(consumer, token, limit, queues, lanes)

        def claim(tx: Tx) -> list[Claimed]:
            with self._claiming(tx, wanted):
                return self.dialect.claim(tx, wanted)

        if acks is not None and acks.held:
            claimed = self._ack_and_claim(acks, wanted)
        else:
            claimed = self.database.write(claim, begin=False, durable=False)
        while any(c.expired or c.is_unfit for c in claimed):
            found = self._without_unfit(self._without_expired(claimed))
            if found:
                return found
            # There may be good ones behind: only a claim that finds nothing at all says "empty".
            self.made_ready(self.expire()[0])
            claimed = self.database.write(claim, begin=False, durable=False)
        return claimed

    @contextlib.contextmanager
    def _claiming(self, tx: Tx, wanted: Wanted) -> Iterator[None]:
        if tx.again:  # the lost try's jobs must not wait for our own death
            tx.run(self.sql.unclaim, p_consumer=wanted.consumer, tokens=[wanted.token])
        started = time.perf_counter()
        yield
        self.claim_seconds = time.perf_counter() - started

    def _ack_and_claim(self, acks: Acks, wanted: Wanted) -> list[Claimed]:
        keys, ending = [key for key, _ in acks.held], self.success(None)

        def at_once(tx: Tx) -> tuple[set[int], list[Claimed]]:
            with self._claiming(tx, wanted):
                return self.dialect.ack_and_claim(tx, keys, ending, acks.own, wanted)

        def in_turn(tx: Tx) -> tuple[Released, list[Claimed]]:
            released = self._ack_each(tx, keys, ending, acks)
            with self._claiming(tx, wanted):
                return released, self.dialect.claim(tx, wanted)

        if self.dialect.steps_are_statements:
            acks.ended, claimed = self.database.write(at_once, begin=False)
            self._ack_rest(acks)
        else:
            released, claimed = self.database.write(in_turn)
            self.release_pending(released)
            acks.queues |= released.queues
        acks.done = True
        return claimed

    def _ack_rest(self, acks: Acks) -> None:
        """Those that the fast path left: jobs with dependents, and lost ones."""
        left = [(key, job_id) for key, job_id in acks.held if key.seq not in acks.ended]
        alike = [one for one in left if one[0].seq not in acks.own]
        if alike:
            self._ack_told(alike, self.success(None), acks)
        for key, job_id in left:
            if key.seq in acks.own:
                self._ack_told([(key, job_id)], acks.own[key.seq], acks)

    def _ack_told(self, held: Sequence[tuple[Key, UUID | None]], ending: Ending, acks: Acks) -> None:
        more, released = self._end_and_release([k for k, _ in held], [i for _, i in held if i], ending)
        self.release_pending(released)
        acks.ended |= more
        acks.queues |= released.queues
        if len(held) > 1:
            self._end_each_left(held, ending, acks)

    def has_ready(self, queues: Sequence[int]) -> bool:
        """Whether a claim would find something, without a write."""
        return self.database.read(lambda tx: any(tx.all(self.sql.claimable, p_queue=q, p_limit=1) for q in queues))

    def claim_by_id(self, consumer: int, token: int, job_id: UUID) -> Claimed:
        """Lease this very job. Raises NotExist, NotPending."""

        def claim(tx: Tx) -> list[Any]:
            if tx.again:
                tx.run(self.sql.unclaim, p_consumer=consumer, tokens=[token])
            return tx.all(self.sql.claim_by_id, p_consumer=consumer, p_token=token, p_job_id=job_id)

        rows = self.database.write(claim)
        if not rows:
            raise NotPending(job_id, detail=f"it is {self.state_of(job_id)}")
        claimed = Claimed(*rows[0])
        if not self._without_expired([claimed]):
            raise NotPending(job_id, detail="it has expired")
        if not self._without_unfit([claimed]):
            raise NotPending(job_id, detail="its payload is too large, or no bytes")
        return claimed

    def unclaim(self, consumer: int, tokens: Sequence[int]) -> None:
        """Undo claims as if they had not been."""
        self.database.write(lambda tx: tx.run(self.sql.unclaim, p_consumer=consumer, tokens=list(tokens)))

    # settle

    def ack(
        self,
        key: Key,
        job_id: UUID | None,
        ending: Ending,
        *,
        told: bool = False,
        connection: Any = None,
    ) -> Released | None:
        """End a held job as succeeded, and tell its dependents; None: not held any more.

        `told`: it is known to have dependents.
        """
        if connection is not None or not self.dialect.steps_are_statements:
            return self.end(key, ending, connection=connection)
        again = [False]

        def ack(tx: Tx) -> bool:
            again[0] |= bool(tx.again)
            return self.dialect.ack_one(tx, key, ending)

        if not told and self.database.write(ack, begin=False):
            return Released(set(), [])
        ids = [job_id] if job_id else []
        released = self._finished(*self._end_and_release([key], ids, ending, again), [key])
        if released is None and again[0] and self._stands_so(ids, ending):
            return Released(set(), [])  # by a try whose answer was lost
        return released

    def _stands_so(self, ids: Sequence[UUID], ending: Ending) -> bool:
        standing = self.database.read(lambda tx: tx.all(self.sql.ended_among, ids=ids)) if ids else []
        return [tuple(end[1:]) for end in standing] == [(ending.status, ending.result, ending.reason)]

    def ack_many(self, acks: Acks) -> None:
        """Ack several without results, in one statement where nobody depends on them."""
        keys, ending = [key for key, _ in acks.held], self.success(None)
        if self.dialect.steps_are_statements:
            with contextlib.suppress(Duplicate):  # one has the record of an earlier end: to be replaced with the rest
                acks.ended = self.database.write(
                    lambda tx: self.dialect.ack_many(tx, keys, ending, acks.own), begin=False
                )
            self._ack_rest(acks)
        else:
            released = self.database.write(lambda tx: self._ack_each(tx, keys, ending, acks))
            self.release_pending(released)
            acks.queues |= released.queues
        acks.done = True

    def _ack_each(self, tx: Tx, keys: Sequence[Key], ending: Ending, acks: Acks) -> Released:
        plain = self.dialect.ack_many(tx, keys, ending, acks.own)
        ended = {}
        for key in keys:
            if key.seq not in plain:
                job = self.dialect.end_held(tx, key, acks.own.get(key.seq, ending))
                if job is not None:
                    ended[key.seq] = job
        acks.ended = plain | set(ended)
        return self._tell(tx, list(ended.values()))

    def _end_and_release(
        self, keys: Sequence[Key], notes: Sequence[UUID], ending: Ending, again: list[bool] | None = None
    ) -> tuple[set[int], Released]:
        """`again` is told whether an earlier try may have taken place."""

        def work(tx: Tx) -> Callable[[], tuple[set[int], Released]]:
            if again is not None:
                again[0] |= bool(tx.again)
            return self.dialect.end_and_release(tx, keys, notes, ending, RELEASE_LIMIT)

        return self.database.pipeline(work)

    def _end_each_left(self, held: Sequence[tuple[Key, UUID | None]], ending: Ending, acks: Acks) -> None:
        """Those that several at once passed over: lost, or just being flagged by another."""
        for key, job_id in held:
            if key.seq not in acks.ended:
                self._ack_told([(key, job_id)], ending, acks)

    def _finished(self, ended: set[int], released: Released, keys: Sequence[Key]) -> Released | None:
        self.release_pending(released)
        return released if keys[0].seq in ended else None

    def end(self, key: Key, ending: Ending, *, connection: Any = None) -> Released | None:
        """End a held job in any way, and tell its dependents; None: not held any more."""

        def work(tx: Tx) -> Released | None:
            rows = tx.all(self.sql.take_held, **key.held)
            return self._bury(tx, [StoredJob(*rows[0])], ending) if rows else None

        ended = self.have_ended(ending)

        def done(tx: Tx, answer: Released | None) -> bool:
            if answer is not None and not answer.ended:  # it went on as a dead letter
                return not tx.all(self.sql.id_of_held, **key.held)
            return ended(tx, answer)

        return self._settle_pending(self._in(connection, work, done), connection)

    def end_by_id(self, job_id: UUID, ending: Ending, *, connection: Any = None) -> Released:
        """End a job that somebody holds. Raises NotExist, Canceled, NotRunning."""

        def work(tx: Tx) -> Released | None:
            rows = tx.all(self.sql.take_leased, p_job_id=job_id)
            if not rows:
                return None
            job = StoredJob(*rows[0])
            self.dialect.record_end(tx, [job], ending)
            return self._tell(tx, [job])

        released = self._settle_pending(self._in(connection, work, self.have_ended(ending)), connection)
        if released is None:
            raise self.not_running(job_id)
        return released

    def give_back(self, key: Key, delay: float) -> bool | None:
        """Make a held job ready again, at once or later.

        False: its attempts are used up, it is dead; None: not held any more.
        """

        def in_place(tx: Tx) -> bool:
            if tx.again and not tx.all(self.sql.id_of_held, **key.held):
                return True  # by the try before
            return bool(tx.all(self.sql.give_back, **key.held))

        def work(tx: Tx) -> bool | None:
            rows = tx.all(self.sql.take_held, **key.held)
            if not rows:
                return None
            job = StoredJob(*rows[0])
            if job.max_attempts and job.attempt >= job.max_attempts:
                why = f"{job.attempt} of {job.max_attempts} attempts used"
                buried.append(self._bury(tx, [job], self.dead(why, "delivery_limit")))
                return False
            later = job._replace(flags=job.flags | Flag.REDELIVERED)
            tx.many(self.sql.restore_waiting, [{**restored(later), "p_delay": delay, "p_due": None}])
            return True

        if delay <= 0 and self.database.write(in_place, begin=False):
            return True
        buried: list[Released] = []
        given = self.database.write(work, done=lambda tx, _: not tx.all(self.sql.id_of_held, **key.held))
        for released in buried[-1:]:
            self.release_pending(released)
            self.made_ready(released.queues)
        return given

    def give_back_all(self, keys: Sequence[Key], *, seen: bool) -> set[int]:
        """Make held jobs ready again at once, in place, in one statement; `seen`: count and flag the delivery.

        Returns the order numbers of those that were not (attempts used up, or not held any more).
        """
        statement = self.sql.give_back_all if seen else self.sql.put_back_all
        done = {seq for (seq,) in self.database.write(lambda tx: tx.all(statement, **Key.all_held(keys)))}
        return {key.seq for key in keys} - done

    # cancel

    def cancel(self, job_id: UUID, reason: str) -> bool:
        """Cancel a job that has not ended; False: it had. Raises NotExist."""
        ending = Ending(CANCELED, reason, None, self.keep_long)

        def work(tx: Tx) -> Released | None:
            rows = tx.all(self.sql.take_job, p_job_id=job_id)
            if not rows:
                tx.all(self.sql.lock_blocked, ids=[job_id])  # before `wait`: the order of locks
                rows = tx.all(self.sql.take_waiting, p_job_id=job_id)
                tx.run(self.sql.drop_blocked, ids=[job_id])
            if not rows:
                return None
            job = StoredJob(*rows[0])
            self.dialect.record_end(tx, [job], ending)
            return self._tell(tx, [job])

        for _ in range(5):  # it may just be moving from one table to the other
            released = self.database.write(work, done=self.have_ended(ending))
            if released is not None:
                self.release_pending(released)
                return True
            if self.state_of(job_id).is_finished:
                return False
        raise NotExist(job_id)
