"""What monitoring is told: figures that the database holds, each look bounded, however much there is.

What has ended is counted from the records of ended jobs, not by whoever ends them: jobs pay
nothing for it, and no crash of a worker loses a count. There is no index on the time of an
end, and none is needed: a record is kept until `finished_at` plus one of few durations, and
`keep_until` has an index. So a span of time is one window of that index for each duration.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kombu_depqueue.dialects import TableSize, Tx
from kombu_depqueue.job import JobState, QueueInfo
from kombu_depqueue.listings import DEAD, Listings
from kombu_depqueue.releases import STATE
from kombu_depqueue.schema import ConsumerKind
from kombu_depqueue.store import Store
from kombu_depqueue.tallies import BUCKETS

__all__ = ["KINDS", "Durations", "Ended", "Figures", "Mark", "Monitor"]

SETTLED = timedelta(seconds=5)
"""So old an end must be to be counted: the transaction that it is part of has committed by then."""
STEP = 20_000
"""Records counted in one step."""
PATIENCE = 0.3
"""Seconds after which no further step is begun; the next look goes on from there."""
MOST_KEEPS = 32
MOST_KEPT = timedelta(days=365 * 7000)
"""No window of what is kept for longer can be said in Python's times: its ends are not counted."""
_NUDGE, _LEAST = timedelta(microseconds=2), timedelta(milliseconds=1)

KINDS = {
    ConsumerKind.QUEUE: "consumer",
    ConsumerKind.TOKEN: "lease",
    ConsumerKind.WORKER: "worker",
    ConsumerKind.DEAD: "dead",
    ConsumerKind.ORPHANS: "orphans",
}
"""What the rows of `consumer` are called."""


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram: how many values, their sum in seconds, how many are within each of `BUCKETS`."""

    count: int
    total: float
    within: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """Jobs of a queue that ended in one way since the last look."""

    queue: str
    channel: str
    outcome: str
    """An end state, or "dead"."""
    count: int
    redelivered: int
    """How often they were handed out, beyond once each."""
    waited: Durations
    """From the enqueue to the last hand-out."""
    ran: Durations
    """From the last hand-out to the end, of those that succeeded or failed."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to where the ends have been counted, and for how long records are known to be kept."""

    at: datetime
    keeps: tuple[timedelta, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """One look."""

    queues: Sequence[QueueInfo]
    ended: Sequence[Ended]
    consumers: dict[str, int]
    """By what they are (`KINDS`), each up to 10,001."""
    silence: float | None
    """Seconds since the consumer that has been silent for longest renewed its lease; None: there is none."""
    expired: int
    """Consumers whose lease has run out, and whose jobs nobody has given to others yet."""
    subscribed: dict[str, tuple[int, int]]
    """By queue (of no channel): its consumers of Kombu's kind, and in how many processes."""
    tables: Sequence[TableSize]
    mark: Mark = field(repr=False)


class Monitor:
    """Takes looks."""

    def __init__(self, store: Store) -> None:
        self._database = store.database
        self._sql = store.sql
        self._listings = Listings(store)

    def look(self, mark: Mark | None) -> Figures:
        """What is there, and what has ended since the last look (None: this is the first, which counts no ends)."""
        queues = self._listings.queues(lasting=True)
        return self._database.read(lambda tx: self._look(tx, mark, queues))

    def _look(self, tx: Tx, mark: Mark | None, queues: Sequence[QueueInfo]) -> Figures:
        names = {number: (channel, name) for number, channel, name, _ in tx.all(self._sql.lasting_queues)}
        found, mark = self._count(tx, mark, names)
        kinds = {kind: row for kind, *row in tx.all(self._sql.consumers_by_kind)}
        own = kinds.get(ConsumerKind.QUEUE)
        subscribed = {}
        for number, consumers, processes in tx.all(self._sql.subscriptions_by_queue):
            channel, name = names.get(number, ("?", ""))
            if not channel:
                subscribed[name] = int(consumers), int(processes)
        return Figures(
            queues=queues,
            ended=found,
            consumers={word: int(kinds[kind][0]) if kind in kinds else 0 for kind, word in KINDS.items()},
            silence=None if own is None else max(0.0, float(own[1])),
            expired=sum(int(kinds[k][2]) for k in (ConsumerKind.QUEUE, ConsumerKind.TOKEN) if k in kinds),
            subscribed=subscribed,
            tables=self._database.dialect.inspection().table_sizes(tx),
            mark=mark,
        )

    # what has ended

    def _count(self, tx: Tx, mark: Mark | None, names: dict[int, tuple[str, str]]) -> tuple[list[Ended], Mark]:
        last = tx.all(self._sql.clock)[0][0] - SETTLED
        keeps = self._learn(tx, () if mark is None else mark.keeps)
        if mark is None:
            return [], Mark(last, keeps)
        rows: list[Any] = []
        at, until = mark.at, time.monotonic() + PATIENCE
        while at < last and (at == mark.at or time.monotonic() < until):
            upto, windows = self._windows(tx, keeps, at, last)
            for low, high in windows:
                rows += tx.all(self._sql.ended_in_window, p_from=low, p_to=high, p_after=at, p_upto=upto)
            at = upto
        return [_ended(row, names) for row in rows if row[0] in names], Mark(max(at, mark.at), keeps)

    def _learn(self, tx: Tx, known: Iterable[timedelta]) -> tuple[timedelta, ...]:
        """For how long records are kept: what we would do, what was seen before, and what a sample shows."""
        settings = self._database.settings
        mine = (timedelta(seconds=settings.retention), timedelta(seconds=settings.result_retention))
        sample = [until - ended for s in (self._sql.kept_by_id, self._sql.kept_longest) for until, ended in tx.all(s)]
        found = dict.fromkeys((*mine, *sample, *known))
        return tuple(keep for keep in found if timedelta() <= keep < MOST_KEPT)[:MOST_KEEPS]

    def _windows(
        self, tx: Tx, keeps: Iterable[timedelta], at: datetime, last: datetime
    ) -> tuple[datetime, list[tuple[datetime, datetime]]]:
        """Up to when to count in one step, and the windows to look into: they do not overlap."""
        upto = last
        for keep in keeps:
            edge = tx.all(self._sql.edge_of_window, p_from=at + keep, p_to=upto + keep, p_rows=STEP)
            if edge:
                upto = min(upto, max(edge[0][0] - keep, at + _LEAST))
        windows: list[tuple[datetime, datetime]] = []
        for keep in sorted(keeps):
            low, high = at + keep - _NUDGE, upto + keep + _NUDGE
            if windows and low < windows[-1][1]:
                low = windows[-1][1]
            windows.append((low, high))
        return upto, windows


def _ended(row: Sequence[Any], names: dict[int, tuple[str, str]]) -> Ended:
    number, status, dead, count, again, *rest = row
    channel, name = names[number]
    outcome = DEAD if dead else JobState(STATE[status]).value
    half = len(BUCKETS) + 2
    return Ended(name, channel, outcome, int(count), int(again), _durations(rest[:half]), _durations(rest[half:]))


def _durations(row: Sequence[Any]) -> Durations:
    count, total, *within = row
    return Durations(int(count), max(0.0, float(total or 0.0)), tuple(int(n) for n in within))
