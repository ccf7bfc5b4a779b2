"""How many jobs a queue may hold, and how big each may be: set for a queue, and obeyed by all that enqueue.

Limits are kept with the queue, and every process that enqueues looks them up again after some
seconds, all in one short statement: so a queue without limits pays nothing else. One with a
maximal length is counted before each enqueue; while there is room enough, only now and then.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

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

Look = Callable[[Callable[[Tx], Any]], Any]


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

    def check(self, entries: Sequence[Entry], connection: Any = None) -> None:
        """See that jobs may be enqueued, all of them. Raises QueueFull, InvalidJob.

        With the caller's `connection` by it: what was enqueued in its transaction is seen by nobody else.
        """
        if time.monotonic() > self._until:
            self._refresh()
        if not self._known:
            return
        coming: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
        for entry in entries:
            key = (entry.channel, entry.queue)
            if key in self._known and entry.job_id is not None:
                coming[key].append(entry)
        look = self._database.read if connection is None else partial(self._database.join, connection)
        for key, some in coming.items():
            number, limit = self._known[key]
            if limit.max_body_bytes is not None:
                self._measure(some, limit.max_body_bytes, look)
            if limit.max_length is not None:
                self._take(some, number, limit.max_length, look)

    def _measure(self, entries: Sequence[Entry], most: int, look: Look) -> None:
        big = self._new([e for e in entries if _size(e) > most], look)
        if big:
            what = f"{_size(big[0]):,} bytes are more than queue {big[0].queue!r} takes: {most:,}"
            raise InvalidJob("args", what)

    def _take(self, entries: Sequence[Entry], number: int, most: int, look: Look) -> None:
        count = len(entries)
        free, until = self._free.get(number, (0, 0.0))
        if count > free or time.monotonic() > until:
            there = look(lambda tx: tx.all(self._sql.count_unended, p_queue=number, p_limit=most))
            room = most - int(there[0][0])
            if count > room:
                count = len(self._new(entries, look))
            if count > max(room, 0):
                raise QueueFull(entries[0].queue, channel=entries[0].channel, max_length=most)
            free, until = max(room, 0) // SHARE + count, time.monotonic() + UNCOUNTED
        self._free[number] = free - count, until

    def _new(self, entries: Sequence[Entry], look: Look) -> list[Entry]:
        """Those whose jobs are not there already, as those of Celery's retries are: any of its tasks may be one."""
        again = [e.job_id for e in entries if e.supersedes]
        there: set[UUID] = set()
        if again:
            there = look(lambda tx: {i for i, _ in tx.all(self._sql.known_ids, ids=again)})
        return [e for e in entries if e.job_id not in there]

    def _refresh(self) -> None:
        rows = self._database.read(lambda tx: tx.all(self._sql.queues_with_limits))
        found = ((channel, name, number, _limit_of(arguments)) for number, channel, name, arguments in rows)
        self._known = {(channel, name): (number, limit) for channel, name, number, limit in found if limit != Limit()}
        self._until = time.monotonic() + FRESH


def _size(entry: Entry) -> int:
    return len(entry.body) + len(entry.envelope or b"")


def _limit_of(arguments: str) -> Limit:
    """The limits among a queue's arguments. Whatever else stands there must not stop those who enqueue elsewhere."""
    try:
        given = load_arguments(arguments).get(LIMITS)
    except (ValueError, TypeError):
        given = None
    if not isinstance(given, dict):
        return Limit()
    return Limit(**{name: n for name in Limit._fields if type(n := given.get(name)) is int})
