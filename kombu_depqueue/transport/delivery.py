"""Fetching ahead and acking behind: one background thread for each consuming connection.

The application's thread (Celery's event loop, or whoever calls `drain_events`) only
takes messages from a buffer and puts acks into another. The thread here fills the
one, as far as the prefetch counts allow, and empties the other, in batches. It also
notices that messages have arrived while the application is busy, and wakes the
event loop through a file descriptor.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kombu_depqueue.dialects.steps import Claimed, Ending
from kombu_depqueue.errors import DepQueueError, QueueClosed, StorageError
from kombu_depqueue.messages import MessageQueue
from kombu_depqueue.transport.codec import joined
from kombu_depqueue.transport.settlements import LINGER, Settlements, too_late

__all__ = ["Consumer", "Deliveries"]

logger = logging.getLogger("kombu_depqueue")

RESERVE = 0.05
"""Seconds without an ack after which what was fetched beyond the prefetch count goes back."""
AHEAD = 24
"""Messages fetched beyond the prefetch count at most (or as many again), and only while tasks end that fast: batches of
ten and more instead of four cost a worker with one task at a time 155 us of CPU a task instead of 167, and the server
half as many commits."""
MOST = 100
"""Messages in one claim."""
CONTROL_EVERY = 0.05
"""Seconds between looks for control messages while tasks keep coming."""


@dataclass(slots=True, eq=False)
class Consumer:
    """Who gets the messages of a queue."""

    tag: str
    channel: Any
    queue: str
    number: int
    no_ack: bool
    callback: Callable[[Any], Any]

    @property
    def takes_more(self) -> bool:
        """Whether a message may be delivered to it."""
        return self.no_ack or self.channel.takes_more


class Deliveries:
    """The two buffers of a connection, and the thread between them and the database."""

    def __init__(self, queue: MessageQueue, prefetch_limit: int, *, gives_up: bool = False) -> None:
        self._queue = queue
        self._gives_up = gives_up
        """There are other servers: one that is away for a `deadline` is lost, not waited for."""
        self.lost: StorageError | None = None
        self._prefetch_limit = prefetch_limit
        self._consumers: list[Consumer] = []
        self._ready: deque[tuple[Consumer, Claimed]] = deque()
        self.settlements = Settlements(queue)
        self._numbers: set[int] = set()
        """All queues ever consumed."""
        self._arrived = threading.Condition()
        self._turn: dict[int, int] = {}
        self._thread: threading.Thread | None = None
        self._fetching = threading.Lock()
        self._closed = False
        self._fetched_at = self._control_at = 0.0
        self._dozing = False
        """The thread may wait for longer than an ack does."""
        self._returning: list[Claimed] = []
        """What is to be given back, unseen."""
        self._saving = False
        """A consumer may have more, and waits for more room."""
        self._skipped = False
        """There was no look for control messages in the last turn."""
        self._rotation = 0
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._signalled = False

    # consumers

    def add(self, consumer: Consumer) -> None:
        """Begin to fetch for a consumer."""
        with self._fetching:
            self._consumers.append(consumer)
            self._numbers.add(consumer.number)
        if self._thread is None:
            self._queue.join()
            self._thread = threading.Thread(target=self._run, name="depqueue-fetch", daemon=True)
            self._thread.start()
        self._queue.interrupt()

    def remove(self, consumer: Consumer) -> None:
        """Fetch no more for a consumer, and give back what waits for it (unless another takes the queue)."""
        with self._fetching:  # no claim for it is under way
            if consumer in self._consumers:  # else this is tried again
                self._consumers.remove(consumer)
            with self._arrived:
                mine = [c for who, c in self._ready if who is consumer]
                self._ready = deque((who, c) for who, c in self._ready if who is not consumer)
                consumer.channel.buffered -= len(mine)
            if not consumer.no_ack:
                self._returning += mine
                self._return()

    def numbers(self) -> list[int]:
        """The queues consumed."""
        return sorted({c.number for c in list(self._consumers)})

    # the application's side

    @property
    def fileno(self) -> int:
        """Readable when messages have arrived."""
        return self._read

    def take(self) -> tuple[Consumer, Claimed] | None:
        """The next message, if one has arrived that may be delivered. Raises StorageError: the server is lost."""
        if self.lost is not None:
            raise self.lost
        with self._arrived:
            for position, one in enumerate(self._ready):
                if one[0].takes_more:
                    del self._ready[position]
                    one[0].channel.buffered -= 1
                    return one
        return None

    def await_any(self, timeout: float | None) -> bool:
        """Wait until a message has arrived; False: none did within `timeout` seconds."""
        with self._arrived:
            return self._arrived.wait_for(lambda: self._has_any() or self._closed, timeout) and not self._closed

    def _has_any(self) -> bool:
        return self.lost is not None or any(consumer.takes_more for consumer, _ in self._ready)

    def clear_signal(self) -> None:
        """The file descriptor has done its work."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 64)
        self._signalled = False

    def signal(self) -> None:
        """Make the file descriptor readable."""
        if not self._signalled:
            self._signalled = True
            with contextlib.suppress(BlockingIOError, OSError):
                os.write(self._write, b"x")

    def ack(self, claimed: Claimed, *, hurry: bool) -> None:
        """Ack soon; `hurry`: the consumer may get more for it."""
        waiting = self.settlements.ack(claimed)
        self._rouse(hurry or waiting >= MOST // 4)

    def run_on(self, claimed: Claimed) -> None:
        """Acked, and the outcome is owed: unless that comes soon, it is never to be handed out again."""
        self.settlements.run_on(claimed)
        self._rouse()

    def conclude(self, claimed: Claimed, ending: Ending, *, acked: bool) -> None:
        """Tell the outcome soon: now, if the message was `acked` before, else with its ack."""
        if self.settlements.conclude(claimed, ending) and acked:
            self.ack(claimed, hurry=False)

    def has_consumed(self, queue: int) -> bool:
        """Whether it fetches from this queue, or did."""
        return queue in self._numbers

    def credit_changed(self) -> None:
        """A consumer may have more."""
        self._queue.interrupt()
        self._go_on()

    def _rouse(self, hurry: bool = False) -> None:
        """There is something to tell the database, and room for what was held in reserve."""
        if hurry or self._dozing:
            self._dozing = False
            self._queue.interrupt()
        self._go_on()

    def _go_on(self) -> None:
        """Deliver what was held in reserve."""
        if self._ready:
            with self._arrived:
                self._arrived.notify_all()
            self.signal()

    # the thread's side

    def _run(self) -> None:
        pause = 0.05
        while not self._closed:
            try:
                self._turn_once()
                pause = 0.05
            except QueueClosed:
                return
            except DepQueueError as error:
                if self._gives_up and isinstance(error, StorageError):
                    self._lose(error)
                    return
                logger.warning("broker: %s; trying again", error)
                time.sleep(pause)
                pause = min(pause * 2, 2.0)
            except Exception:
                logger.exception("fetching messages went wrong; going on")
                time.sleep(pause)
                pause = min(pause * 2, 2.0)

    def _lose(self, error: StorageError) -> None:
        """Tell the application, which tries the next server."""
        with self._arrived:
            self.lost = error
            self._arrived.notify_all()
        self.signal()

    def _turn_once(self) -> None:
        ticket = self._queue.ticket()
        with self._fetching:
            self._return()
            got = self._fetch()
        # After a flush look again: what was acked meanwhile has given room for more. (While saving, acks wait for the
        # claim.)
        if not got and (self._saving or not self.settlements.flush()) and not self._closed:
            self._dozing = True  # first: an ack that comes now is either seen, or sees it
            self._queue.wait(ticket, self.numbers(), self._patience())
            self._dozing = False

    def _patience(self) -> float | None:
        """How long to wait at most, without being woken."""
        if self.settlements or self._saving or time.monotonic() - self._fetched_at < LINGER:
            self._dozing = False
            return LINGER
        if any(c.channel.surplus for c in list(self._consumers)):
            return RESERVE
        return CONTROL_EVERY if self._skipped else None

    def _fetch(self) -> bool:
        got = full = self._saving = False
        late = time.monotonic() - self._fetched_at >= LINGER
        consumers = list(self._consumers)
        for channel in self._in_turn([c.channel for c in consumers if not c.no_ack]):
            mine = [c for c in consumers if c.channel is channel and not c.no_ack]
            if late:
                self._end_reserve(channel)
            credit = channel.credit(self._prefetch_limit)
            if (late and credit > 0) or channel.has_room(credit):
                if not late:
                    # So many end while we fetch that nothing would be left to do: fetch ahead of the prefetch count,
                    # more each time.
                    channel.reserve = min(max(channel.prefetch_count, AHEAD), 2 * channel.acks)
                    credit = max(1, channel.credit(self._prefetch_limit))
                channel.acks = 0
                got |= self._claim_for(mine, min(credit, MOST))
            else:
                full = True
                self._saving |= credit > 0
        if got:
            self._fetched_at = time.monotonic()
        free = [c for c in consumers if c.no_ack]
        now = time.monotonic()
        # While tasks flow, each of their acks brings us here: once in a while is enough for control messages then.
        self._skipped = bool(free) and (got or full) and now - self._control_at < CONTROL_EVERY
        if free and not self._skipped:
            self._control_at = now
            got |= self._claim_for(free, MOST)
        return got

    def _end_reserve(self, channel: Any) -> None:
        """The pace is slow: fetch no more than the prefetch count; others may have what was."""
        channel.reserve = 0
        if not channel.surplus or time.monotonic() - channel.acked_at < RESERVE:
            return
        with self._arrived:
            mine = [one for one in self._ready if one[0].channel is channel and not one[0].no_ack]
            back = mine[len(mine) - min(len(mine), channel.surplus) :]
            self._ready = deque(one for one in self._ready if one not in back)
            channel.buffered -= len(back)
        self._returning += [claimed for _, claimed in back]
        self._return()

    def _return(self) -> None:
        """Give back what nobody has seen; what fails is tried again in the next turn."""
        if self._returning:
            self._queue.give_back(self._returning, seen=False)
            self._returning = []

    def _in_turn(self, channels: list[Any]) -> list[Any]:
        """Each channel once, another first each time."""
        once = list(dict.fromkeys(channels))
        self._rotation += 1
        start = self._rotation % len(once) if once else 0
        return once[start:] + once[:start]

    def _claim_for(self, consumers: list[Consumer], limit: int) -> bool:
        numbers = sorted({c.number for c in consumers})
        with self.settlements.batch() as (todo, own):
            if todo:
                lost, claimed = self._queue.ack_and_claim(todo, numbers, limit, own)
                too_late(lost)
            else:
                claimed = self._queue.claim(numbers, limit)
        if not claimed:
            return self.settlements.mark_running() or bool(todo)
        claimed = self._queue.genuine(claimed, {c.number: ("", c.queue) for c in consumers})
        with self._queue.handing_out(claimed):
            if consumers[0].no_ack and claimed:
                self._queue.ack_messages(claimed)
            ready = [one for each in claimed if (one := self._joined(each)) is not None]
        with self._arrived:
            for one in ready:
                consumer = self._next_consumer(consumers, one.queue_id)
                consumer.channel.buffered += 1
                self._ready.append((consumer, one))
            self._arrived.notify_all()
        self.signal()
        self.settlements.mark_running()
        return True

    def _joined(self, claimed: Claimed) -> Claimed | None:
        try:
            return joined(self._queue, claimed)
        except (StorageError, QueueClosed) as error:
            logger.warning("the results for job %s could not be had: %s; trying again", claimed.job_id, error)
            self._returning.append(claimed)  # alone: the others of its claim are delivered
            return None

    def _next_consumer(self, consumers: list[Consumer], number: int) -> Consumer:
        mine = [c for c in consumers if c.number == number]
        turn = self._turn[number] = self._turn.get(number, -1) + 1
        return mine[turn % len(mine)]

    # the end

    def close(self, *, forked: bool = False) -> None:
        """Flush the acks, give back what nobody has seen, stop."""
        if self._closed:
            return
        self._closed = True
        try:
            if not forked and self.lost is None:
                self._finish()
        finally:
            os.close(self._read)
            os.close(self._write)

    def _finish(self) -> None:
        self._queue.interrupt()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self._queue.patience())
        with self._arrived:
            left = [c for who, c in self._ready if not who.no_ack]
            self._ready.clear()
            self._arrived.notify_all()
        while self.settlements:
            self.settlements.flush(at_once=True)
        self._returning += left
        self._return()
