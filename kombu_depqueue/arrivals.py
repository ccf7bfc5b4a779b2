"""How jobs come in: numbers of queues, and enqueues in as few round trips as can be; one method, one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from kombu_depqueue.dialects import Tx
from kombu_depqueue.entry import Entry, kinds_of
from kombu_depqueue.errors import Duplicate
from kombu_depqueue.inserting import insert_alike, insert_entries
from kombu_depqueue.leases import Leases

__all__ = ["Arrivals"]


class Arrivals(Leases):
    """Queues, and new jobs in them."""

    # queues

    def queue_ids(self, names: Iterable[tuple[str, str]]) -> list[int]:
        """The numbers of queues, given as (channel, name); new ones are added."""
        names = list(names)
        missing = [n for n in names if n not in self._queues]
        if not missing:
            return [self._queues[n] for n in names]
        found = self.database.read(lambda tx: self._look_up(tx, missing))
        if len(found) < len(set(missing)):
            found = self.database.write(lambda tx: self._add_queues(tx, missing))
        self._queues.update((n, i) for n, i in found.items() if n not in self._fleeting)
        return [found[n] if n in found else self._queues[n] for n in names]

    def remember_queue(self, channel: str, name: str, number: int, *, keep: bool) -> None:
        """Note a queue's number; `keep=False`: it may be deleted for good, and so is looked up each time."""
        if keep:
            self._queues[channel, name] = number
            self._fleeting.discard((channel, name))
        else:
            self._queues.pop((channel, name), None)
            self._fleeting.add((channel, name))

    def forget_queue(self, channel: str, name: str) -> None:
        """A queue was deleted."""
        self._queues.pop((channel, name), None)
        self._fleeting.discard((channel, name))

    def known_queues(self) -> list[int]:
        """The numbers of the queues used so far."""
        return list(self._queues.values())

    def _add_queues(self, tx: Tx, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
        found = self._look_up(tx, names)
        for channel, name in names:
            if (channel, name) not in found:
                tx.run(self.sql.add_queue, p_channel=channel, p_name=name)
                found |= self._look_up(tx, [(channel, name)])
        return found

    def _look_up(self, tx: Tx, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
        found = {}
        for channel, name in names:
            for number, fleeting in tx.all(self.sql.queue_by_name, p_channel=channel, p_name=name):
                found[channel, name] = number
                if fleeting:
                    self._fleeting.add((channel, name))
        return found

    # enqueue

    def insert(self, entries: Sequence[Entry], connection: Any = None) -> set[int]:
        """Insert jobs, all or none; returns the queues whose consumers should look."""
        kinds = kinds_of(entries)
        known = {(e.channel, e.queue): e.queue_id for e in kinds if e.queue_id}
        names = {(e.channel, e.queue) for e in kinds} - known.keys()
        if connection is not None:
            # In the caller's transaction, and so not remembered: it may be rolled back.
            def join(tx: Tx) -> set[int]:
                if any(e.asks for e in entries):
                    self.dialect.check_isolation(tx)
                missing = [n for n in names if n not in self._queues]
                numbers = self._queues | known | self._add_queues(tx, missing)
                woken = insert_entries(tx, self.dialect, entries, numbers)
                self.hint_at_commit(tx, woken)
                return woken

            if not self.dialect.one_writer:
                self.queue_ids(names)  # committed at once: a new queue's row must not wait for the caller
            return self.database.join(connection, join)
        queues = {**known, **dict(zip(names, self.queue_ids(names), strict=True))} if names else known
        if len(entries) == 1 and entries[0].is_single and (entries[0].delay is None or self._signs_nothing):
            simply = insert_alike if entries[0].is_plain and self._signs_nothing else insert_entries
            insert = partial(simply, dialect=self.dialect, entries=entries, queues=queues)
            return self.database.write(insert, single=True, durable=entries[0].durable)
        if all(e.is_plain for e in kinds) and not any(e.edges for e in entries):
            try:
                return self._insert_plain(entries, kinds, queues)
            except Duplicate:
                if not any(e.supersedes for e in kinds):
                    raise
        return self.database.write(lambda tx: insert_entries(tx, self.dialect, entries, queues))

    @property
    def _signs_nothing(self) -> bool:
        return self.database.settings.signing_keys is None

    def _insert_plain(
        self, entries: Sequence[Entry], kinds: Sequence[Entry], queues: Mapping[tuple[str, str], int]
    ) -> set[int]:
        """Insert where nothing has to be looked up: in one round trip."""

        def send(tx: Tx) -> set[int]:
            return insert_entries(tx, self.dialect, entries, queues, plain=True)

        first = kinds[0]
        fits = len(entries) <= self.dialect.rows_in_one and not first.supersedes
        alike = fits and len(kinds) == 1 and first.id_is_new and len(entries) > 1
        alone = len(entries) == 1 and self.dialect.steps_are_statements  # it says by itself if it supersedes a job
        if (alike or alone) and self._signs_nothing:
            insert = partial(insert_alike, dialect=self.dialect, entries=entries, queues=queues)
            return self.database.write(insert, begin=False, durable=first.durable)
        if len(entries) == 1 or (fits and len({e.common for e in kinds}) == 1):  # one statement
            durable = any(e.durable for e in kinds)
            return self.database.write(send, begin=False, durable=durable)
        if self.dialect.pipelines and not any(e.supersedes for e in kinds):  # those are asked for first

            def pipelined(tx: Tx) -> Callable[[], set[int]]:
                done = send(tx)
                return lambda: done

            return self.database.pipeline(pipelined)
        return self.database.write(send)
