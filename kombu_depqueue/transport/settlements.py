"""Acks and outcomes of one connection, on their way to the database in batches."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from kombu_depqueue.dialects.steps import STATUS, Claimed, Ending, Key
from kombu_depqueue.errors import DepQueueError, QueueClosed, StorageError
from kombu_depqueue.job import JobState
from kombu_depqueue.messages import MessageQueue
from kombu_depqueue.transport.pipe import Told

__all__ = ["LINGER", "Settlements", "too_late"]

logger = logging.getLogger("kombu_depqueue")

LINGER = 0.005
"""Seconds that an ack waits for company, and an early one for its outcome, while there is no hurry."""
BATCH = 1000
"""Acks in one statement."""
SUCCEEDED = STATUS[JobState.SUCCEEDED]


class Settlements:
    """The application's thread puts them in; the connection's thread sends them."""

    def __init__(self, queue: MessageQueue) -> None:
        self._queue = queue
        self._acks: deque[Claimed] = deque()
        self._endings: dict[tuple[int, int], Ending] = {}
        """How those end that come to something else than success without a result, by order number and token."""
        self._running: dict[tuple[int, int], tuple[Claimed, float]] = {}
        """Those that were acked, and when, before their outcome, which is told later."""

    def __bool__(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._acks or self._running)

    # the application's side

    def ack(self, claimed: Claimed) -> int:
        """Ack soon; returns how many acks wait."""
        self._acks.append(claimed)
        return len(self._acks)

    def run_on(self, claimed: Claimed) -> None:
        """Acked, and the outcome is owed: unless that comes soon, it is never to be handed out again."""
        self._running[claimed.seq, claimed.token] = claimed, time.monotonic()

    def conclude(self, claimed: Claimed, ending: Ending) -> bool:
        """Tell the outcome with the ack; False: it was told before, and the first word counts."""
        key = claimed.seq, claimed.token
        if key in self._endings:
            return False
        self._endings[key] = ending
        self._running.pop(key, None)
        return True

    def is_told(self, claimed: Claimed) -> bool:
        """Whether the outcome is known already, and waits for the ack."""
        return (claimed.seq, claimed.token) in self._endings

    def take_told(self, claimed: Claimed) -> Ending | None:
        """The outcome that waits for the ack, which will not come."""
        return self._endings.pop((claimed.seq, claimed.token), None)

    def untold(self) -> list[Told]:
        """Acks and outcomes that could not be told before the end."""
        done = self._queue.ending(JobState.SUCCEEDED)
        return [
            Told(Key(c.queue_id, c.rank, c.seq, c.token), c.job_id, self._endings.get((c.seq, c.token), done))
            for c in self._acks
            if c.job_id is not None
        ]

    # the thread's side

    def flush(self, *, at_once: bool = False) -> bool:
        """Send what there is; whether there was anything. `at_once`: outcomes that are owed come no more."""
        with self.batch() as (todo, own):
            if todo:
                too_late(self._queue.ack_messages(todo, own))
        return self.mark_running(at_once=at_once) or bool(todo)

    def mark_running(self, *, at_once: bool = False) -> bool:
        """Mark those that have been running for a while: the outcome of the others may be here any moment."""
        late = time.monotonic() - (0 if at_once else LINGER)
        todo = [claimed for claimed, since in list(self._running.values()) if since <= late]
        if todo:
            self._queue.run_on(todo)
            for claimed in todo:
                self._running.pop((claimed.seq, claimed.token), None)
        return bool(todo)

    @contextlib.contextmanager
    def batch(self) -> Iterator[tuple[list[Claimed], Mapping[int, Ending]]]:
        """What is to be acked now, and how those end that have a result.

        If that fails it is acked later; what cannot be acked at all holds up nobody else.
        """
        todo = self._pop()
        try:
            yield todo, self._own(todo)
        except BaseException as error:
            if _may_work_later(error):
                self._acks.extendleft(reversed(todo))
            else:
                self._ack_each(todo)
            raise
        self._forget(todo)

    def _pop(self) -> list[Claimed]:
        todo: list[Claimed] = []
        seqs: set[int] = set()
        with contextlib.suppress(IndexError):
            while len(todo) < BATCH:
                claimed = self._acks.popleft()
                if claimed.seq in seqs:  # a job's next hand-out: in one batch nobody could tell whose result is whose
                    self._acks.appendleft(claimed)
                    break
                seqs.add(claimed.seq)
                todo.append(claimed)
        return self._without_failed(todo) if self._endings else todo

    def _without_failed(self, todo: list[Claimed]) -> list[Claimed]:
        """End those that have not succeeded, one by one."""
        good = []
        for position, claimed in enumerate(todo):
            ending = self._endings.get((claimed.seq, claimed.token))
            if ending is None or ending.status == SUCCEEDED:
                good.append(claimed)
                continue
            try:
                self._queue.conclude_held(claimed, ending)
            except BaseException as error:
                if _may_work_later(error):
                    self._acks.extendleft(reversed([*good, *todo[position:]]))
                    raise
                logger.error("the outcome of job %s cannot be told: %s", claimed.job_id, error)
            self._forget([claimed])
        return good

    def _ack_each(self, todo: Sequence[Claimed]) -> None:
        for claimed in todo:
            try:
                self._queue.ack_messages([claimed], self._own([claimed]))
            except Exception as error:
                if _may_work_later(error):
                    self._acks.append(claimed)
                else:
                    logger.error("job %s cannot be acked: %s", claimed.job_id, error)
            else:
                self._forget([claimed])

    def _own(self, todo: Sequence[Claimed]) -> dict[int, Ending]:
        if not self._endings:
            return {}
        told = ((c.seq, self._endings.get((c.seq, c.token))) for c in todo)
        # A success without a result is what an ack means anyway.
        return {seq: e for seq, e in told if e is not None and not (e.result is None and e.meta is None)}

    def _forget(self, todo: Sequence[Claimed]) -> None:
        if self._endings:
            for claimed in todo:
                self._endings.pop((claimed.seq, claimed.token), None)


def _may_work_later(error: BaseException) -> bool:
    """Whether it is not about the jobs themselves."""
    return not isinstance(error, DepQueueError) or isinstance(error, (StorageError, QueueClosed))


def too_late(lost: Sequence[Claimed]) -> None:
    """Acks whose lease was lost."""
    for claimed in lost:
        # Celery's retry publishes the same job anew and only then acks: nothing is wrong then.
        logger.debug("ack came too late: job %s was handed out again or superseded", claimed.job_id)
