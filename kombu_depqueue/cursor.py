"""Where the claim starts to look: at the head of the queue, or, when that has become slow, at a cursor.

A claim looks for the first ready job in order. Rows in front of it that cannot be
taken cost it time: leased ones (100,000: 24 ms), and, while an old snapshot keeps
vacuum away, the dead ones of all jobs done since (155,000: 40 ms, and 423 instead
of 3,000 jobs/s). So when claims are slow they start behind the jobs that were
claimed a moment ago - if that proves to be faster. What the cursor may have jumped
over - jobs whose transaction committed late, or whose lease expired - is found by
looking from the head again, which is done whenever it is worth it: when a claim
finds too little or upkeep has released jobs, for 1 % of the time; and after 5 s.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from kombu_depqueue.dialects.steps import Claimed, Lane
from kombu_depqueue.keeper import Keeper
from kombu_depqueue.store import Acks, Store

__all__ = ["Cursors"]

SLOW = 0.003
"""Seconds, for up to 100 jobs, from which on a claim is slow ..."""
ROW = 5
"""... and so many of them in a row, so that a hiccup of the machine is not taken for it."""
LAG = 200
"""Order numbers that a cursor stays behind, for transactions that commit a little late."""
SHARE = 100
"""A look from the head that took t seconds is repeated after SHARE * t at the earliest ..."""
SOONEST, LATEST = 0.05, 5.0
"""... but not within 50 ms, and after 5 s at the latest."""
FRESH = 0.25
"""Seconds for which the priorities present in a queue are remembered."""


class Cursors:
    """The cursors of one consumer; used by several threads, who may disturb each other's without harm."""

    def __init__(self, keeper: Keeper, store: Store) -> None:
        self._keeper, self._store = keeper, store
        self._slow: dict[tuple[int, ...], _Slow] = {}
        self._in_a_row = 0
        self._empty = False

    def claim(
        self, queues: Sequence[int], limit: int, *, last: bool = False, acks: Acks | None = None
    ) -> list[Claimed]:
        """Lease up to `limit` ready jobs; `acks` may travel with it (look at `acks.done`).

        `last`: the caller gives up if there are none, so be sure.
        """
        slow = self._slow.get(tuple(queues))
        if slow is not None:
            claimed = slow.claim(limit, last=last, acks=acks)
            if slow.over:
                self._slow.pop(tuple(queues), None)
                self._in_a_row = 0
            return claimed
        # Where a look is cheaper than a write: see first whether there is anything.
        if acks is None and self._empty and self._store.peeks and not self._store.has_ready(queues):
            return []
        claimed = self._keeper.claim(limit, queues, acks=acks)
        self._empty = not claimed
        cost = self._store.claim_seconds / (1 + len(claimed) / 100)
        self._in_a_row = self._in_a_row + 1 if cost > SLOW else 0
        if self._in_a_row >= ROW and claimed:
            with self._keeper.handing_out(claimed):
                self._slow[tuple(queues)] = _Slow(self._keeper, self._store, queues, cost, claimed)
        return claimed

    @property
    def skip(self) -> bool:
        """Whether some claims do not start at the head."""
        return bool(self._slow)

    def rewind(self) -> None:
        """Jobs were released in front of the cursors."""
        for slow in list(self._slow.values()):
            slow.hurried = True


class _Slow:
    """Cursors over the priorities of some queues, while claims from the head are slow."""

    def __init__(
        self, keeper: Keeper, store: Store, queues: Sequence[int], cost: float, claimed: Sequence[Claimed]
    ) -> None:
        self._keeper, self._store, self._queues = keeper, store, list(queues)
        self._lanes: dict[tuple[int, int], int] = {}
        self._cost = cost
        self._rewound = self._refreshed = time.monotonic()
        self.hurried = False
        self.over = False
        self._refresh()
        self._advance(claimed)

    def claim(self, limit: int, *, last: bool, acks: Acks | None) -> list[Claimed]:
        """Lease jobs behind the cursors; from the head when that is due."""
        now = time.monotonic()
        due = min(LATEST, max(SOONEST, self._cost * SHARE))
        if now - self._rewound >= (due if self.hurried else LATEST):
            return self._rewind(limit)
        if now - self._refreshed >= FRESH:
            self._refresh()
        lanes = [Lane(q, r, after) for (q, r), after in self._lanes.items()]
        claimed = self._keeper.claim(limit, lanes=lanes, acks=acks)
        if claimed and self._store.claim_seconds > self._cost / 2:
            self.over = True  # what is slow here is not the way to the first job
        self._advance(claimed)
        if not claimed:  # there is time to look more thoroughly
            due = 0.0 if last else max(SOONEST, self._cost * SHARE / 10)
        if len(claimed) < limit and now - self._rewound >= due:
            with self._keeper.handing_out(claimed):
                claimed += self._rewind(limit - len(claimed))
        return claimed

    def _rewind(self, limit: int) -> list[Claimed]:
        claimed = self._keeper.claim(limit, self._queues)
        self._cost = self._store.claim_seconds
        self._rewound, self.hurried = time.monotonic(), False
        self._advance(claimed)
        self.over = self._cost < SLOW / 2  # the head is fast again
        return claimed

    def _refresh(self) -> None:
        self._refreshed = time.monotonic()
        for queue in self._queues:
            for rank in self._store.ranks(queue):
                self._lanes.setdefault((queue, rank), 0)

    def _advance(self, claimed: Sequence[Claimed]) -> None:
        for c in claimed:
            lane = (c.queue_id, c.rank)
            self._lanes[lane] = max(self._lanes.get(lane, 0), c.seq - LAG)
