"""How many jobs a queue may hold, and how big each may be: set for a queue, and obeyed by all that enqueue.

Limits are kept with the queue, and every process that enqueues looks them up again after some
seconds, all in one short statement: so a queue without limits pays nothing else. One with a
maximal length is counted before each enqueue; while there is room enough, only now and then.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from kombu_depqueue.dialects import Tx
from kombu_depqueue.entry import Entry
from kombu_depqueue.errors import InvalidJob, QueueFull
from kombu_depqueue.exchanges import load_arguments
from kombu_depqueue.routing import LIMITS
from kombu_depqueue.store import Store

__all__ = ["Limit", "Limits"]

FRESH = 5.0
"""Seconds for which limits are taken to be what they were."""
SHARE = 10
"""One of so many free places may be taken within a second without counting again: up to so many producers at once
stay within the limit."""
UNCOUNTED = 1.0


class Limit(NamedTuple):
    """What a queue may hold; None: anything."""

    max_length: int | None = None
    max_body_bytes: int | None = None


class Limits:
    """The limits of all queues, as one process knows them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._database, self._sql = store.database, store.sql
        self._known: dict[tuple[str, str], tuple[int, Limit]] = {}
        self._until = 0.0
        self._free: dict[int, tuple[int, float]] = {}
        """By queue: how many more may come without counting, and until when."""

    def of(self, channel: str, queue: str) -> Limit:
        """The limits of a queue."""
        self._refresh()
        return self._known.get((channel, queue), (0, Limit()))[1]

    def set(self, channel: str, queue: str, limit: Limit) -> None:
        """Give a queue limits, in place of those that it had."""
        number = self._store.queue_ids([(channel, queue)])[0]
        given = {name: value for name, value in limit._asdict().items() if value is not None}

        def work(tx: Tx) -> None:
            arguments = load_arguments(tx.all(self._sql.lock_arguments, p_queue=number)[0][0])
            arguments.pop(LIMITS, None)
            if given:
                arguments[LIMITS] = given
            tx.run(self._sql.set_arguments, p_queue=number, p_arguments=json.dumps(arguments) if arguments else None)

        self._database.write(work)
        self._refresh()

    def check(self, entries: Sequence[Entry]) -> None:
        """See that jobs may be enqueued, all of them. Raises QueueFull, InvalidJob."""
        if time.monotonic() > self._until:
            self._refresh()
        if not self._known:
            return
        coming: Counter[tuple[str, str]] = Counter()
        for entry in entries:
            key = (entry.channel, entry.queue)
            if key not in self._known or entry.job_id is None or entry.supersedes:
                continue  # no job, or one that is there already
            coming[key] += 1
            most, size = self._known[key][1].max_body_bytes, len(entry.body) + len(entry.envelope or b"")
            if most is not None and size > most:
                raise InvalidJob("args", f"{size:,} bytes are more than queue {entry.queue!r} takes: {most:,}")
        for key, count in coming.items():
            number, limit = self._known[key]
            if limit.max_length is not None:
                self._take(key, number, count, limit.max_length)

    def _take(self, key: tuple[str, str], number: int, count: int, most: int) -> None:
        free, until = self._free.get(number, (0, 0.0))
        if count > free or time.monotonic() > until:
            there = self._database.read(lambda tx: tx.all(self._sql.count_unended, p_queue=number, p_limit=most))
            room = most - int(there[0][0])
            if count > room:
                raise QueueFull(key[1], channel=key[0], max_length=most)
            free, until = room // SHARE + count, time.monotonic() + UNCOUNTED
        self._free[number] = free - count, until

    def _refresh(self) -> None:
        rows = self._database.read(lambda tx: tx.all(self._sql.queues_with_limits))
        self._known = {
            (channel, name): (number, Limit(**load_arguments(arguments)[LIMITS]))
            for number, channel, name, arguments in rows
        }
        self._until = time.monotonic() + FRESH
