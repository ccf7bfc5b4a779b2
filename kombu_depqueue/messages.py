"""The message level of a JobQueue, for transports: raw bodies, batches, everything by number."""

from __future__ import annotations

from collections.abc import Sequence

from kombu_depqueue.dialects.steps import Claimed, Key
from kombu_depqueue.entry import Entry, check_size
from kombu_depqueue.queue import JobQueue, enlisted
from kombu_depqueue.schema import Flag
from kombu_depqueue.store import Acks
from kombu_depqueue.topology import Topology

__all__ = ["MessageQueue"]


class MessageQueue(JobQueue):
    """A JobQueue whose jobs are messages."""

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
                self.topology.delete_owned(self.consumer)
        finally:
            super().close()

    @property
    def in_child(self) -> bool:
        """Whether this process was forked off the one that used it last."""
        return self._in_child()

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
        """Lease up to `limit` ready messages."""
        self._check()
        return self._cursors.claim(list(queues), limit)

    def unclaim(self, claimed: Sequence[Claimed]) -> None:
        """Undo a claim, soon: nobody has seen the messages."""
        self._keeper.undo(claimed)

    def ack_and_claim(
        self, acks: Sequence[Claimed], queues: Sequence[int], limit: int
    ) -> tuple[list[Claimed], list[Claimed]]:
        """Both in one transaction and round trip; returns the acks that came too late, and what was claimed."""
        self._check()
        riding = Acks([(_key(c), c.job_id) for c in acks])
        claimed = self._cursors.claim(list(queues), limit, acks=riding)
        if not riding.done:
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

    def ack_messages(self, claimed: Sequence[Claimed]) -> list[Claimed]:
        """End messages as succeeded; returns those whose lease was lost."""
        self._check()
        riding = Acks([(_key(c), c.job_id) for c in claimed])
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

    def reject(self, claimed: Claimed, letter: str = "rejected") -> bool:
        """End a message as dead, or send it where its queue's dead letters go; whether it was still ours."""
        self._check()
        used = f"{claimed.attempt} of {claimed.max_attempts} attempts used"
        why = used if letter == "delivery_limit" else letter
        released = self._store.end(_key(claimed), self._store.dead(why, letter))
        self._drop([claimed])
        if released is not None:
            self._woken_by_end(released.queues)
        return released is not None

    def cut(self, queue: int, most: int) -> None:
        """Keep a queue within its maximal length: the oldest messages that nobody holds go."""
        self._woken_by_end(self._store.cut(queue, most))

    def _drop(self, claimed: Sequence[Claimed]) -> None:
        for c in claimed:
            self._keeper.drop(c.seq, c.token)


def _key(claimed: Claimed) -> Key:
    return Key(claimed.queue_id, claimed.rank, claimed.seq, claimed.token)


def is_redelivered(claimed: Claimed) -> bool:
    """Whether a message was handed out before."""
    return bool(claimed.flags & Flag.REDELIVERED)
