"""The Kombu door as a JobQueue, so that the conformance suite can run through it.

What AMQP has a word for goes through a Kombu connection: publish (one and many, with id, priority,
delay, expiry, headers, dependencies), get and consume, ack, requeue, reject. For all else (status,
cancel, results, channels, `run_at` ...) the native API is asked, on the same database.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from kombu.connection import Connection
from sqlalchemy import Engine

from kombu_depqueue import JobMessage, JobQueue
from kombu_depqueue.enlisting import enlist, enlisted
from kombu_depqueue.entry import check_duration, check_integer, entry_of
from kombu_depqueue.errors import Empty
from kombu_depqueue.job import Dependency
from kombu_depqueue.reservation import Reservation

__all__ = ["KombuDoor"]

OURS = frozenset({"x-job-id", "x-delay", "depends_on", "dependency_policy", "on_unmet"})
AT_ONCE = 0.1
"""Seconds within which a consumer is given what is there already."""


class KombuDoor(JobQueue):
    """A JobQueue through Kombu."""

    def __init__(self, url: Any = "depqueue://", **options: Any) -> None:
        super().__init__(url, **options)
        self._broker = None if isinstance(url, Engine) else f"depqueue+{url}".replace("depqueue+depqueue", "depqueue")
        self._broker_options = options
        self._opened: dict[tuple[int, int], Any] = {}
        self._connecting = threading.RLock()

    @property
    def kombu(self) -> Any:
        """This thread's connection."""
        mine = os.getpid(), threading.get_ident()
        if mine not in self._opened:
            connect: Any = Connection
            self._opened[mine] = self._left_behind() or connect(
                self._broker, transport_options={**self._broker_options, "prefetch_limit": 100_000}
            )
        return self._opened[mine]

    def _open_channel(self) -> Any:
        """A channel. Kombu does not expect a connection to be released while another thread connects."""
        with self._connecting:
            self._check()
            return self.kombu.channel()

    def _left_behind(self) -> Any:
        """The connection of a thread that has ended: tests make many, and the server has room for a hundred."""
        alive = {thread.ident for thread in threading.enumerate()}
        for process, thread in list(self._opened):
            if process == os.getpid() and thread not in alive:
                left = self._opened.pop((process, thread), None)
                if left is not None:
                    return left
        return None

    def close(self) -> None:
        with self._connecting:
            for (process, _), connection in list(self._opened.items()):
                if process == os.getpid():
                    connection.release()
            self._opened.clear()
            super().close()

    # publish

    def _insert(self, jobs: Sequence[JobMessage], connection: Any) -> None:
        self._check()
        for job in jobs:
            entry_of(job, self.settings)  # the same errors
        if self._broker is None or not all(map(_has_words, jobs)):
            super()._insert(jobs, connection)
            return
        with enlist(enlisted() if connection is None else connection), self._open_channel() as channel:
            if len(jobs) == 1:
                channel.basic_publish(self._published(channel, jobs[0]), "", self._routing_key(jobs[0]))
                return
            batch = channel.create_publish_batch(len(jobs) + 1)
            for job in jobs:
                batch.publish(self._published(channel, job), "", self._routing_key(job))
            batch.flush()

    def _routing_key(self, job: JobMessage) -> str:
        return job.job_type or self.settings.queue

    def _published(self, channel: Any, job: JobMessage) -> Any:
        entry = entry_of(job, self.settings)
        headers: dict[str, Any] = {**(job.headers or {}), "x-job-id": str(job.job_id)}
        if job.delay:
            headers["x-delay"] = job.delay * 1000
        if job.depends_on:
            headers["depends_on"] = [_dependency(one) for one in job.depends_on]
        if job.dependency_policy:
            headers["dependency_policy"] = job.dependency_policy
        if job.on_unmet:
            headers["on_unmet"] = job.on_unmet
        properties = {} if job.expires_in is None else {"expiration": str(job.expires_in * 1000)}
        encoding = "utf-8" if job.body is None else "binary"
        content_type = job.content_type or "application/json"
        return channel.prepare_message(entry.body, job.priority, content_type, encoding, headers, properties)

    # consume

    def reserve_many(
        self,
        limit: int,
        timeout: float | None = None,
        *,
        queues: Sequence[str] | None = None,
        channels: Sequence[str] = ("",),
        renew: bool = True,
    ) -> list[Reservation]:
        self._check()
        check_integer("limit", limit, 1, 100_000)
        if timeout is not None:
            check_duration("timeout", timeout)
        names = [name for _, name in self._names(queues, channels)]
        if self._broker is None or not renew or tuple(channels) != ("",):
            return super().reserve_many(limit, timeout, queues=queues, channels=channels, renew=renew)
        channel = self._open_channel()
        got: list[Delivery] = []
        try:
            if timeout == 0 and len(names) == 1:
                while len(got) < limit and (message := channel.basic_get(names[0])) is not None:
                    got.append(Delivery(self, message, names[0]))
            else:
                self._consume(channel, names, limit, timeout, got)
        finally:
            if not got:
                channel.close()
        if not got:
            self._check()  # of threads that drain one connection its end is told to some only
            raise Empty("no job became ready in time")
        return list(got)

    def _consume(
        self, channel: Any, names: Sequence[str], limit: int, timeout: float | None, got: list[Delivery]
    ) -> None:
        channel.basic_qos(0, limit, False)
        channel.flow(False)  # until all queues are consumed: the oldest job of all comes first
        tags = [
            channel.basic_consume(name, callback=lambda message, name=name: got.append(Delivery(self, message, name)))
            for name in names
        ]
        channel.flow(True)
        try:
            self._await_first(names, None if timeout is None else max(timeout, AT_ONCE))
            while len(got) < limit:
                self.kombu.drain_events(timeout=AT_ONCE)
        except TimeoutError:
            pass
        finally:
            for tag in tags:
                channel.basic_cancel(tag)

    def _await_first(self, names: Sequence[str], timeout: float | None) -> None:
        """Drain; on a busy machine what is there may take longer than `AT_ONCE` to arrive."""
        give_up = time.monotonic() + 10
        while True:
            try:
                return self.kombu.drain_events(timeout=timeout)  # type: ignore[no-any-return]
            except TimeoutError:
                numbers = self._store.queue_ids([("", name) for name in names])
                if time.monotonic() > give_up or not self._store.has_ready(numbers):
                    raise

    def settle_by_kombu(self, reservation: Delivery, how: str) -> None:
        """Ack, requeue or reject a message, and see that it is done."""
        self._check()
        reservation.settled = True
        getattr(reservation.delivered, how)()
        if how == "ack":
            transport, key = reservation.delivered.channel.connection, reservation.key
            give_up = time.monotonic() + 10
            transport.deliveries.settlements.flush()
            while (key.seq, key.token) in transport.queue._keeper.held:  # the connection's thread is just sending it
                assert time.monotonic() < give_up, "an ack is not done"
                time.sleep(0.001)
                transport.deliveries.settlements.flush()


class Delivery(Reservation):
    """A Kombu message as a reservation."""

    __slots__ = ("delivered",)

    def __init__(self, queue: KombuDoor, delivered: Any, name: str) -> None:
        super().__init__(queue, delivered._claimed, "", name)
        self.delivered = delivered

    @property
    def headers(self) -> dict[str, Any]:
        return {name: value for name, value in super().headers.items() if name not in OURS}

    def ack(self, result: Any = None, *, connection: Any = None) -> None:
        if result is not None or connection is not None or enlisted() is not None:
            super().ack(result, connection=connection)
        elif not self.settled:
            self._queue.settle_by_kombu(self, "ack")  # type: ignore[attr-defined]

    def requeue(self, delay: float = 0.0) -> None:
        if delay:
            super().requeue(delay)
        elif not self.settled:
            self._queue.settle_by_kombu(self, "requeue")  # type: ignore[attr-defined]

    def reject(self, reason: str = "rejected") -> None:
        if reason != "rejected":
            super().reject(reason)
        elif not self.settled:
            self._queue.settle_by_kombu(self, "reject")  # type: ignore[attr-defined]


def _has_words(job: JobMessage) -> bool:
    """Whether AMQP can say all of it."""
    return not job.channel and job.max_attempts is None and job.run_at is None


def _dependency(one: Any) -> Any:
    if isinstance(one, Dependency):
        return {"id": str(one.job_id), **({"policy": one.policy} if one.policy else {})}
    return str(one) if isinstance(one, UUID) else one
