"""A consumer's presence: its lease, what it holds, and the thread that renews the one for the other."""

from __future__ import annotations

import contextlib
import logging
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

from kombu_depqueue.dialects.steps import Claimed, Lane
from kombu_depqueue.errors import DepQueueError, QueueClosed
from kombu_depqueue.maintenance import Upkeep
from kombu_depqueue.store import Acks, Store
from kombu_depqueue.waiting import COALESCE, Notifier, Waiter

__all__ = ["Keeper", "new_number"]

logger = logging.getLogger("kombu_depqueue")

RETRY = 0.5
"""Seconds after which what failed is tried again."""
SWEEP, FIRST_SWEEP = 1.0, 0.2
"""Seconds between sweeps, and until the first: who is killed before has told nobody of its session."""
IDLE_AFTER = 60.0
"""Seconds without a job after which a consumer looks only each `idle_poll_interval`."""


def new_number() -> int:
    """A random positive 63-bit number, for consumers and lease tokens: made by the client, not to be guessed."""
    return secrets.randbits(62) + 1


class Keeper:
    """Registers as a consumer at the first claim; renews the lease of all that is held in one statement."""

    def __init__(self, store: Store, waiter: Waiter, notifier: Notifier, name: str) -> None:
        self._store, self._waiter, self._notifier, self.name = store, waiter, notifier, name
        self._settings = store.database.settings
        self._upkeep = Upkeep(store)
        self._lock = threading.Lock()
        self._stirred = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._seen = -1
        self._lost: deque[int] = deque()
        """Tokens of claims to be undone; any thread adds some, and any takes them away."""
        self.released: Callable[[], None] = lambda: None
        """Called when upkeep has made jobs ready that may lie in front of a cursor."""
        self.sweep: Callable[[], None] = lambda: None
        """Called about once a second, for what else has to be looked after."""
        self.may_sleep = True
        """Whether it may be gone while there is nothing to do, for the sake of a serverless database."""
        self._told: str | None = None
        """The session that our consumer row names."""
        waiter.session_changed = self.stir
        self._upkeep.session_ended = self._session_ended
        store.made_ready = self.wake
        self.consumer = new_number()
        self.registered = False
        self.renewals = 0
        self._renewed = 0.0
        """When the last renewal that took place was asked for."""
        self.says_waiting = False
        self._saying = threading.Lock()
        """Held while the database is told whether we wait: what it knows is what we believe."""
        self._waited_at = 0.0
        self.last_found = time.monotonic()
        self.held: dict[tuple[int, int], UUID | None] = {}
        """Reservations not settled: (order number, token) -> job id."""
        self.alone: dict[tuple[int, int], int] = {}
        """Those of them whose lease stands by itself (`extend`): -> its consumer number."""

    # claiming

    def claim(
        self, limit: int, queues: Sequence[int] = (), lanes: Sequence[Lane] = (), acks: Acks | None = None
    ) -> list[Claimed]:
        """Lease jobs under this consumer's lease."""
        self.join()
        token = new_number()
        try:
            claimed = self._store.claim(self.consumer, token, limit, queues=queues, lanes=lanes, acks=acks)
        except BaseException:
            # It may have been committed: those jobs would be held for as long as we live.
            self._lost.append(token)
            raise
        return self._note(claimed)

    def claim_by_id(self, job_id: UUID) -> Claimed:
        """Lease one very job."""
        self.join()
        token = new_number()
        try:
            claimed = self._store.claim_by_id(self.consumer, token, job_id)
        except DepQueueError:
            self._lost.append(token)
            raise
        return self._note([claimed])[0]

    def _note(self, claimed: list[Claimed]) -> list[Claimed]:
        if claimed:
            self.last_found = time.monotonic()
            for c in claimed:
                self.held[c.seq, c.token] = c.job_id
        return claimed

    def join(self) -> None:
        """Be registered, with a thread that renews the lease, of which a third is left at least."""
        if not self.registered:
            with self._lock:
                if self._closed:
                    raise QueueClosed("the JobQueue is closed")
                if not self.registered:
                    began = time.monotonic()
                    self._store.rejoin(self.consumer, self.name, self._settings.lease, [])
                    self.registered, self._told, self._renewed = True, None, began
                    self.stir()  # tell of the session soon, though there had been a time to sleep
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="depqueue-keeper", daemon=True)
                    self._thread.start()
        elif time.monotonic() - self._renewed > self._settings.lease * 2 / 3:
            self.renew()  # the thread should have, and got neither processor nor lock: what is claimed now must last
        self._unclaim()

    def _unclaim(self) -> None:
        """Undo claims of which nobody has seen the jobs."""
        lost: list[int] = []
        with contextlib.suppress(IndexError):
            while True:
                lost.append(self._lost.popleft())
        if lost:
            try:
                self._store.unclaim(self.consumer, lost)
            except BaseException:
                self._lost.extend(lost)
                raise
            self.released()

    @contextlib.contextmanager
    def handing_out(self, claimed: Sequence[Claimed]) -> Iterator[None]:
        """What is inside stands between a claim and its caller: if it fails, nobody has seen the jobs."""
        try:
            yield
        except BaseException:
            self.undo(claimed)  # else they would be held for as long as we live
            raise

    def undo(self, claimed: Sequence[Claimed]) -> None:
        """Give back soon, before the next claim at the latest, what was claimed and not handed out."""
        for c in claimed:
            self.drop(c.seq, c.token)
        self._lost.extend({c.token for c in claimed})
        self.stir()

    def drop(self, seq: int, token: int) -> None:
        """A reservation was settled or given away."""
        self.held.pop((seq, token), None)
        self.alone.pop((seq, token), None)

    def say_waiting(self) -> bool:
        """Ask for hints; whether that is new, so that one must look once more."""
        self._waited_at = time.monotonic()
        if self.says_waiting or not self._notifier.enabled:
            return False
        with self._saying:
            self._store.set_waiting(self.consumer, True)
            self.says_waiting = True
        return True

    def pause(self) -> float:
        """How long a waiting consumer may go without looking."""
        if time.monotonic() - self.last_found < IDLE_AFTER:
            return self._settings.poll_interval
        return max(self._settings.idle_poll_interval, self._settings.poll_interval)

    def stir(self) -> None:
        """Something may be due earlier than was known."""
        self._stirred.set()

    def before_waiting(self) -> None:
        """There was a hint, and nothing ready: perhaps it was about a delayed job."""
        if self._seen != self._waiter.hints:
            self._stirred.set()

    # the thread

    def _run(self) -> None:
        next_beat = time.monotonic() + self._settings.lease / 3
        next_sweep = time.monotonic() + FIRST_SWEEP
        pause, most = 0.0, FIRST_SWEEP
        while not self._closed:
            self._stirred.wait(min(pause, max(0.0, next_beat - time.monotonic())))
            self._stirred.clear()
            self._seen = self._waiter.hints
            try:
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + RETRY  # if it fails
                    self.beat()
                    next_beat = time.monotonic() + self._settings.lease / 3
                self._unclaim()
                self._tell_session()
                looks = self._told is not None and (bool(self.held) or not self._is_asleep())
                self.wake(self._upkeep.round(looks=looks, accuses=self._waiter.sees_sessions))
                if time.monotonic() >= next_sweep:
                    next_sweep, most = time.monotonic() + SWEEP, math.inf
                    self._waiter.hold_session()  # a consumer that never waits has a session too
                    self.sweep()
                pause = min(max(self._upkeep.next_event(), 0.01), self.pause(), most)
                time.sleep(COALESCE)
            except QueueClosed:
                return
            except DepQueueError as error:
                # The leases may run out meanwhile; they are taken again as soon as that is possible.
                logger.warning("cannot renew leases: %s", error)
                pause = RETRY
                next_beat = min(next_beat, time.monotonic() + RETRY)
                time.sleep(COALESCE)
            except Exception:  # whatever it is about, the leases are not to blame
                logger.exception("upkeep went wrong; going on")
                pause = RETRY
                time.sleep(COALESCE)

    def _tell_session(self) -> None:
        """Let others see which session ends when this process does."""
        session = self._waiter.session
        if self.registered and session != self._told:
            self._store.set_session(self.consumer, session)
            self._told = session

    def _session_ended(self, consumer: int) -> None:
        """If it is ours: we have not heard of that, and would be taken for dead."""
        if consumer == self.consumer and self._told == self._waiter.session:
            self._waiter.renew_session()

    def _is_asleep(self) -> bool:
        quiet = self.may_sleep and time.monotonic() - self.last_found > IDLE_AFTER
        return quiet and self.pause() > self._settings.lease / 3

    def wake(self, queues: set[int]) -> None:
        """Jobs became ready: tell those who wait, here and elsewhere."""
        if queues:
            self.released()
            self._waiter.wake()
            self._notifier.hint(queues)

    def beat(self) -> None:
        """Renew all leases, or leave while there is nothing to do."""
        if not self.registered:
            return
        if not self.held and self._is_asleep():
            # Let a serverless database sleep: be gone until there is work again.
            self._store.leave([self.consumer])
            self.registered = self.says_waiting = False
            return
        self.renew()

    def renew(self) -> None:
        """Renew all leases; take them again if we had been declared dead."""
        began = time.monotonic()
        with self._saying:
            # Not by whether it waits right now: it may be about to.
            lately = self._waiter.is_used or time.monotonic() - self._waited_at < 1.0
            self.says_waiting = self.says_waiting and lately
            alive = self._store.beat([self.consumer], self._settings.lease, self.says_waiting)
        self.renewals += alive
        if not alive:
            logger.warning("the lease had expired; taking again what nobody else was given")
            held = [(job_id, token) for (_, token), job_id in list(self.held.items()) if job_id is not None]
            self._store.rejoin(self.consumer, self.name, self._settings.lease, held)
            self.says_waiting, self._told = False, None
        self._renewed = began
        for consumer in list(self.alone.values()):
            self._store.set_lease(consumer, self._settings.lease)

    def detach(self, seq: int, token: int, consumer: int, *, keep: bool) -> None:
        """A hand-out's lease stands by itself now; `keep`: go on renewing it."""
        if keep and (seq, token) in self.held:
            self.alone[seq, token] = consumer
        else:
            self.drop(seq, token)

    def close(self, *, forked: bool = False) -> None:
        """Give everything back at once and stop."""
        with self._lock:
            self._closed = True
        self._stirred.set()
        if forked:
            return
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self._store.database.deadline.patience())
        if self.registered:
            self.registered = False
            mine = [self.consumer, *self.alone.values()]
            self._notifier.hint(self._store.leave(mine))
        self.held.clear()
        self.alone.clear()
