"""Where the claim starts to look: at the head of the queue, or, when that has become slow, at a cursor.

A claim looks for the first ready job in order. Rows in front of it that cannot be
taken cost it time: leased ones (100,000: 24 ms), and, while an old snapshot keeps
vacuum away, the dead ones of all jobs done since (155,000: 40 ms, and 423 instead
of 3,000 jobs/s). So when claims are slow they start behind the jobs that were
claimed a moment ago - if that proves to be faster. What the cursor may have jumped
over - jobs whose transaction committed late, or whose lease expired - is found by
looking from the head again, which costs more the longer the snapshot is open (half a
million dead rows: 240 ms), so it has its share of the time: 1 % when a claim found too
little or jobs were released, 10 % when it found nothing; and 5 s after the last look.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

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
BUSY, IDLE = 100, 10
"""A look from the head that took t seconds is repeated after so many times t at the earliest: with work, without ..."""
SOONEST, LATEST = 0.05, 5.0
"""... but not within 50 ms, and after 5 s at the latest."""
RANKS = 256
"""Ranks, the priorities from the highest down, are below this."""


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

        `last`: the caller gives up if there are none, so miss nothing that was released here.
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
            self._slow[tuple(queues)] = _Slow(self._keeper, self._store, queues, cost, claimed)
        return claimed

    @property
    def hurried(self) -> bool:
        """Whether jobs were released in front of a cursor, and not looked for yet."""
        return any(slow.hurried for slow in list(self._slow.values()))

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
        self._after: dict[int, dict[int, int]] = {queue: {0: 0} for queue in queues}
        """By queue and rank: the order number behind which to look."""
        self._cost = cost
        self._rewound = time.monotonic()
        self._in_a_row = 0
        self.hurried = False
        self.over = False
        self._advance(claimed)

    def claim(self, limit: int, *, last: bool, acks: Acks | None) -> list[Claimed]:
        """Lease jobs behind the cursors; from the head when that is due."""
        if self._is_due(BUSY if self.hurried else None):
            return self._rewind(limit)
        claimed = self._keeper.claim(limit, lanes=self._lanes(), acks=acks)
        slow = claimed and self._store.claim_seconds > self._cost / 2
        self._in_a_row = self._in_a_row + 1 if slow else 0
        if self._in_a_row >= ROW:
            self.over = True  # what is slow here is not the way to the first job
        self._advance(claimed)
        if len(claimed) < limit and ((last and self.hurried) or self._is_due(BUSY if claimed else IDLE)):
            with self._keeper.handing_out(claimed):
                claimed += self._rewind(limit - len(claimed))
        return claimed

    def _is_due(self, share: int | None) -> bool:
        """Whether to look from the head: so many times what the last look took after it."""
        soonest = LATEST if share is None else min(LATEST, max(SOONEST, self._cost * share))
        return time.monotonic() - self._rewound >= soonest

    def _rewind(self, limit: int) -> list[Claimed]:
        self.hurried = False
        try:
            claimed = self._keeper.claim(limit, self._queues)
        except BaseException:
            self.hurried = True
            raise
        self._cost = self._store.claim_seconds
        self._rewound = time.monotonic()
        for c in claimed:  # behind one that was in front of its cursor there may be more, and of other priorities too
            after = self._after[c.queue_id]
            self.hurried = self.hurried or c.seq <= after.get(c.rank, 0)
            after[c.rank] = min(after.get(c.rank, c.seq), c.seq - 1)
        self.over = self._cost < SLOW / 2  # the head is fast again
        return claimed

    def _lanes(self) -> list[Lane]:
        """From each cursor to the next, so that priorities that nobody has seen yet are found too."""
        return [
            Lane(queue, rank, after[rank], until)
            for queue, after in self._after.items()
            for rank, until in pairwise([*sorted(after), RANKS])
        ]

    def _advance(self, claimed: Sequence[Claimed]) -> None:
        for c in claimed:
            after = self._after[c.queue_id]
            after[c.rank] = max(after.get(c.rank, 0), c.seq - LAG)
