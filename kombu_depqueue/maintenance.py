"""Upkeep: expired leases, due jobs, releases left over, expiry, pruning; in bounded rounds, by whoever consumes.

There is no leader. Rows that another process works on are skipped, so any
number of processes may do this at once, and one alone is enough.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from kombu_depqueue.store import Store

__all__ = ["Upkeep"]

logger = logging.getLogger("kombu_depqueue")

OFTEN, SELDOM = 5.0, 60.0
"""Seconds between looks for expired jobs and left-over releases; and for records to prune."""
PRUNED, SOON = 1000, 0.1
"""Records that one step prunes, and seconds until the next one while there are more: 10,000 a second at most."""
LOOK, LOOK_AGAIN = 1.5, 0.5
"""Seconds between looks for sessions that have ended; and while one of them may yet come back."""
COME_BACK = 3.0
"""Seconds that the process of an ended session has to come back: then it is taken for dead. Twice `LOOK`: a process
that has not heard of the end finds it by its own look, and comes back."""


class Upkeep:
    """The rounds of one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next_often = 0.0
        self._next_look = 0.0
        self._next_event = 0.0
        self._looks = False
        self.session_ended: Callable[[int], None] = lambda consumer: None
        """Called with a consumer whose session has ended."""
        self._suspects: dict[tuple[int, str, object], float] = {}
        """Consumers whose session has ended, with the sign of life last seen, and since when."""
        self._next_seldom = time.monotonic() + SELDOM

    def round(self, *, everything: bool = False, looks: bool = False, accuses: bool = False) -> set[int]:
        """Do what is due; returns the queues that got ready jobs.

        `looks`: at the sessions of others and our own. `accuses`: whose session has ended is taken for dead.
        """
        store, now = self._store, time.monotonic()
        queues: set[int] = set()
        self._looks = looks
        if not (looks and accuses):
            self._suspects.clear()
        if looks and now >= self._next_look:
            self._look_for_deaths(now, accuses)
            self._next_look = now + (LOOK_AGAIN if self._suspects else LOOK)
        # Only what is found is written.
        due, expiry = store.next_events()
        if expiry <= 0:
            queues |= store.rescue(grace=2 * store.database.settings.deadline)
        if due <= 0:
            queues.update(store.promote())
        if min(due, expiry) <= 0:
            due, expiry = store.next_events()
        self._next_event = now + min(due, expiry)
        if everything or now >= self._next_often:
            self._next_often = now + OFTEN
            ready, more = store.expire()
            queues |= ready
            if more:
                self._next_often = self._next_event = now
            released = store.release_any()
            if released is not None:
                store.release_pending(released)
                queues |= released.queues
                self._next_often = now
        if everything or now >= self._next_seldom:
            self._prune(now)
        return queues

    def _prune(self, now: float) -> None:
        pruned = self._store.prune(PRUNED)
        self._next_seldom = now + (SOON if pruned == PRUNED else 1.0 if pruned else SELDOM)
        if pruned == PRUNED:  # there are more, and they may come as fast as they go
            self._next_event = min(self._next_event, now + SOON)

    def _look_for_deaths(self, now: float, accuses: bool) -> None:
        """End the leases of consumers whose session has ended and did not come back."""
        ended = self._store.ended_sessions()
        for consumer, *_ in ended:
            self.session_ended(consumer)
        if not accuses:
            return
        self._suspects = {one: self._suspects.get(one, now) for one in ended}
        for one, since in list(self._suspects.items()):
            if now - since >= COME_BACK and self._store.declare_dead(*one):
                logger.info("a consumer's session ended and did not come back: what it held is given to others")

    def next_event(self) -> float:
        """Seconds until something is due that is known of already (infinite: nothing)."""
        first = min(self._next_event, self._next_look) if self._looks else self._next_event
        return max(0.0, first - time.monotonic())
