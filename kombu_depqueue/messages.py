"""The message level of a JobQueue, for transports: raw bodies, batches, everything by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from kombu_depqueue.dialects.base import RESULTS
from kombu_depqueue.dialects.steps import STATUS, Claimed, Ending, Key
from kombu_depqueue.enlisting import enlisted
from kombu_depqueue.entry import Entry, check_size, policy_mask
from kombu_depqueue.errors import NotExist
from kombu_depqueue.job import JobState, Policy, new_job_id
from kombu_depqueue.outcomes import Outcome
from kombu_depqueue.queue import JobQueue
from kombu_depqueue.reservation import key_of
from kombu_depqueue.schema import Flag
from kombu_depqueue.statements import StoredJob
from kombu_depqueue.store import Acks
from kombu_depqueue.topology import Topology

__all__ = ["MessageQueue"]


class MessageQueue(JobQueue):
    """A JobQueue whose jobs are messages."""

    creates_at_once: ClassVar[bool] = False  # see `connect`; it is made where no error could be told

    def _start(self) -> None:
        super()._start()
        self.topology = Topology(self._store, self._records)
        self._keeper.sweep = self.topology.sweep
        self._keeper.may_sleep = False  # whoever is gone for a while loses its subscriptions

    def connect(self) -> None:
        """Connect now, and see that the tables are there. Raises StorageError, SchemaError."""
        self._check()
        self._database.ensure_schema()

    def close(self) -> None:
        """Delete the queues that end with this consumer, give all leases back at once, and close."""
        try:
            if not self._closed and not self._in_child():
                self.hurry()
                self.topology.delete_owned(self.consumer)
        finally:
            super().close()

    def hurry(self) -> None:
        """It is about to be closed: all that is still to be done has one deadline together."""
        self._database.deadline.hurry()

    def patience(self) -> float:
        """Seconds to wait for a thread that is making a call."""
        return self._database.deadline.patience()

    def abandon(self) -> None:
        """Ask nothing more of a server that is lost: what is under way ends with its next try."""
        self._database.abandon()

    @property
    def in_child(self) -> bool:
        """Whether this process was forked off the one that used it last."""
        return self._in_child()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def consumer(self) -> int:
        """This consumer's number."""
        return self._keeper.consumer

    def publish(self, entries: Sequence[Entry]) -> None:
        """Insert messages, all or none."""
        self._check()
        for entry in entries:
            check_size("body", entry.body, self.settings)
            check_size("headers", entry.envelope or b"", self.settings)
        self._inserted(entries, enlisted())

    def numbers(self, names: Sequence[str]) -> list[int]:
        """The numbers of queues, added if they are new."""
        self._check()
        return self._store.queue_ids([("", name) for name in names])

    def claim(self, queues: Sequence[int], limit: int) -> list[Claimed]:
        """Lease up to `limit` ready messages, to be given to `genuine` before anything else."""
        self._check()
        return self._cursors.claim(list(queues), limit)

    def handing_out(self, claimed: Sequence[Claimed]) -> AbstractContextManager[None]:
        """If what is inside fails, the claim is undone soon: nobody has seen the messages."""
        return self._keeper.handing_out(claimed)

    def ack_and_claim(
        self, acks: Sequence[Claimed], queues: Sequence[int], limit: int, own: Mapping[int, Ending] = {}
    ) -> tuple[list[Claimed], list[Claimed]]:
        """Both in one transaction and round trip; returns the acks that came too late, and what was claimed."""
        self._check()
        riding = Acks([(_key(c), c.job_id) for c in acks], own)
        claimed = self._cursors.claim(list(queues), limit, acks=riding)
        if not riding.done:
            with self._keeper.handing_out(claimed):
                self._store.ack_many(riding)
        return self._acked(acks, riding), claimed

    def _acked(self, acks: Sequence[Claimed], riding: Acks) -> list[Claimed]:
        self._drop(acks)
        self._woken_by_end(riding.queues)
        return [c for c in acks if c.seq not in riding.ended]

    def join(self) -> None:
        """Be a consumer: have a lease and upkeep from now on."""
        self._check()
        self._keeper.join()

    # waiting

    def ticket(self) -> int:
        """Take before looking; see `wait`."""
        return self._waiter.ticket()

    def wait(self, ticket: int, queues: Sequence[int], timeout: float | None = None) -> None:
        """Wait until something may have changed since `ticket`, at most `timeout` seconds."""
        self._keeper.before_waiting()
        if self._waiter.watch(queues) | self._keeper.say_waiting():
            return  # whoever has just asked for hints must look once more before waiting
        pause = self._keeper.pause()
        self._waiter.wait(ticket, pause if timeout is None else min(timeout, pause))

    def interrupt(self) -> None:
        """End `wait` in other threads."""
        self._waiter.wake()

    # settling

    def ack_messages(self, claimed: Sequence[Claimed], own: Mapping[int, Ending] = {}) -> list[Claimed]:
        """End messages as succeeded; returns those whose lease was lost."""
        self._check()
        riding = Acks([(_key(c), c.job_id) for c in claimed], own)
        self._store.ack_many(riding)
        return self._acked(claimed, riding)

    def give_back(self, claimed: Sequence[Claimed], *, seen: bool) -> list[Claimed]:
        """Make messages ready again at their old places; returns those whose attempts are used up, to be rejected."""
        if not claimed:
            return []
        self._check()
        left = self._store.give_back_all([_key(c) for c in claimed], seen=seen)
        spent = [c for c in claimed if c.seq in left and c.max_attempts and c.attempt >= c.max_attempts]
        self._drop([c for c in claimed if c not in spent])
        self._given_back({c.queue_id for c in claimed})
        return spent

    def reject(
        self, claimed: Claimed, letter: str = "rejected", *, told: Ending | None = None, why: str | None = None
    ) -> bool:
        """End a message as dead, or send it where its queue's dead letters go; whether it was still ours.

        `told`: what is known of its outcome.
        """
        self._check()
        used = f"{claimed.attempt} of {claimed.max_attempts} attempts used"
        why = used if letter == "delivery_limit" else why or letter
        ending = self._store.dead(why, letter)
        if told is not None:
            ending = ending._replace(result=told.result, meta=told.meta)
        released = self._store.end(_key(claimed), ending)
        self._drop([claimed])
        if released is not None:
            self._woken_by_end(released.queues)
        return released is not None

    def cut(self, queue: int, most: int) -> None:
        """Keep a queue within its maximal length: the oldest messages that nobody holds go."""
        self._woken_by_end(self._store.cut(queue, most))

    # outcomes

    def ending(
        self,
        state: JobState,
        *,
        result: bytes | None = None,
        meta: bytes | None = None,
        reason: str | None = None,
        keep: float | None = None,
    ) -> Ending:
        """How a job ends. `result` is JSON text, `meta` anything; `keep`: seconds that the record is kept."""
        if result is not None:
            check_size("result", result, self.settings)
        if meta is not None:
            check_size("meta", meta, self.settings)
        self._database.dialect.check_payloads(result, meta)  # told later with others, it would be in their way
        if keep is None:
            plain = state is JobState.SUCCEEDED and result is None
            keep = self.settings.retention if plain else self.settings.result_retention
        text = None if reason is None else reason.replace("\0", "\ufffd").encode("utf-8", "replace").decode()[:10_000]
        return Ending(STATUS[state], text, result, keep, None, meta)

    def conclude(self, job_id: UUID, ending: Ending, *, token: str | None = None, connection: Any = None) -> bool:
        """End a job by what came of it; False: it is not ours to end (another holds it, or it has succeeded)."""
        self._check()
        key = None if token is None else key_of(token)
        released = self._outcomes.end(job_id, ending, key, connection)
        if key is not None:
            self._keeper.drop(key.seq, key.token)
        if released is not None:
            self._woken_by_end(released.queues)
        return released is not None

    def conclude_held(self, claimed: Claimed, ending: Ending) -> bool:
        """The same for a message that this consumer was given."""
        self._check()
        released = self._outcomes.end(claimed.job_id or new_job_id(), ending, _key(claimed))
        self._drop([claimed])
        if released is not None:
            self._woken_by_end(released.queues)
        return released is not None

    def revoke(self, job_id: UUID, reason: str) -> StoredJob | None:
        """Cancel a job that nobody holds; returns it, if that was so."""
        self._check()
        job, released = self._outcomes.revoke(job_id, self.ending(JobState.CANCELED, reason=reason))
        self._woken_by_end(released.queues)
        return job

    def park(self, job_id: UUID, token: str) -> bool:
        """Let a held job wait, unfinished, until its id is published again; False: the token is not current."""
        self._check()
        return self._outcomes.park(key_of(token))

    def run_on(self, claimed: Sequence[Claimed]) -> None:
        """Messages were acked, and their outcome is owed: they are not handed out again."""
        self._check()
        self._outcomes.run_on([_key(c) for c in claimed])
        self._drop(claimed)  # their lease goes on with the consumer's

    def note(self, job_id: UUID, meta: bytes, *, token: str | None = None) -> bool:
        """What the worker of a live job says of it; False: it is not live, or another has it."""
        self._check()
        check_size("meta", meta, self.settings)
        return self._outcomes.note(job_id, meta, None if token is None else key_of(token).token)

    def outcomes(self, ids: Sequence[UUID]) -> dict[UUID, Outcome]:
        """How jobs stand; those that are not known are left out."""
        self._check()
        return self._outcomes.of(ids)

    def outcomes_of_dependencies(self, job_id: UUID) -> list[Outcome]:
        """The same of a job's dependencies, in the order given. Raises NotExist if there are none."""
        self._check()
        found = self._outcomes.of_dependencies(job_id)
        if not found:
            raise NotExist(job_id, detail="it has no dependencies")
        return found

    def add_dependency(self, job_id: UUID, dependency: UUID, policy: Policy) -> bool:
        """Let a blocked job wait for one more; False: it is not blocked any more."""
        self._check()
        return self._outcomes.add_dependency(job_id, dependency, policy_mask(policy))

    def forget(self, job_id: UUID) -> None:
        """Forget what a job gave."""
        self._check()
        self._outcomes.forget(job_id)

    def watch(self, ids: Sequence[UUID]) -> int:
        """Be woken when one of these jobs ends; take before looking, and give to `wait_for_end`."""
        self._check()
        self._waiter.watch([RESULTS])
        ticket = self._waiter.ticket()
        self._outcomes.watch(ids)
        return ticket

    def wait_for_end(self, ticket: int, timeout: float) -> None:
        """Wait until a job that somebody watches has ended since `watch`, at most `timeout` seconds."""
        self._waiter.wait(ticket, timeout)

    def memo(self, name: str) -> bytes | None:
        """What was kept under a name."""
        self._check()
        return self._outcomes.memo(name)

    def keep_memo(self, name: str, value: bytes, seconds: float) -> None:
        """Keep something under a name, for some time."""
        self._check()
        check_size("memo", value, self.settings)
        self._outcomes.keep(name, value, seconds)

    def drop_memo(self, name: str) -> None:
        """Forget what was kept under a name."""
        self._check()
        self._outcomes.drop(name)

    def settled(self, claimed: Sequence[Claimed]) -> None:
        """Messages were ended by somebody else's word: they are held no more."""
        self._drop(claimed)

    def dead(self, limit: int) -> list[tuple[UUID, str, str, datetime]]:
        """The latest jobs that are dead or were lost: id, queue, reason, when."""
        self._check()
        return self._records.dead(limit)

    def _drop(self, claimed: Sequence[Claimed]) -> None:
        for c in claimed:
            self._keeper.drop(c.seq, c.token)


def _key(claimed: Claimed) -> Key:
    return Key(claimed.queue_id, claimed.rank, claimed.seq, claimed.token)


def is_redelivered(claimed: Claimed) -> bool:
    """Whether a message was handed out before."""
    return bool(claimed.flags & Flag.REDELIVERED)
