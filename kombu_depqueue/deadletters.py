"""Where jobs go that nobody wants: to the dead-letter exchange of their queue, if it has one.

A dead letter is the same job, with its id and its dependents, in another queue; what has
happened to it stands in the header `x-death`, as RabbitMQ writes it
(https://www.rabbitmq.com/docs/dlx#effects). It moves in the transaction that would
have ended it, whoever that is: a consumer, a native caller, or upkeep.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from kombu_depqueue.dialects import Dialect, Tx
from kombu_depqueue.exchanges import Binding, load_arguments, route
from kombu_depqueue.inserting import facts_of
from kombu_depqueue.job import new_job_id
from kombu_depqueue.schema import Flag
from kombu_depqueue.signing import bare
from kombu_depqueue.statements import StoredJob

__all__ = ["PREFIX", "DeadLetters", "sort_out"]

logger = logging.getLogger("kombu_depqueue")

PREFIX = "x-depqueue-prefix"
"""A queue's argument: Kombu's `queue_name_prefix`, which stands before the names of all queues of an application."""


class DeadLetters(NamedTuple):
    """Jobs that died: those that go on elsewhere, and those that end."""

    moved: list[StoredJob]
    left: list[StoredJob]
    bounded: dict[int, int]
    """Maximal lengths of the queues that they go to."""


def sort_out(tx: Tx, dialect: Dialect, jobs: Sequence[StoredJob], reason: str) -> DeadLetters:
    """Find out where dead jobs go; `reason`: "rejected", "expired", "maxlen" or "delivery_limit"."""
    found = DeadLetters([], [], {})
    numbers = sorted({job.queue_id for job in jobs})
    queues = {n: (name, load_arguments(text)) for n, name, text in tx.all(dialect.sql.arguments_of, ids=numbers)}
    ways = _Ways(tx, dialect)
    for job in jobs:
        name, arguments = queues.get(job.queue_id, ("", {}))
        exchange = arguments.get("x-dead-letter-exchange")
        goes = exchange is not None and ways.may_sign(job, name)
        copies = _letters(ways, job, _Death(name, arguments, reason), found) if goes else []
        found.moved.extend(copies)
        if not copies:
            found.left.append(job)
    return found


class _Death(NamedTuple):
    queue: str
    arguments: dict[str, Any]
    reason: str


class _Ways:
    """What the letters of one transaction share: each thing is asked of the database once."""

    def __init__(self, tx: Tx, dialect: Dialect) -> None:
        self._tx, self._sql = tx, dialect.sql
        self.max_attempts = dialect.settings.max_attempts
        self._keys = dialect.settings.signing_keys
        self._targets: dict[tuple[str, str], list[Binding]] = {}
        self._ready: dict[int, int] = {}

    @cached_property
    def clock(self) -> datetime:
        """The database's."""
        now: datetime = self._tx.all(self._sql.clock)[0][0]
        return now

    def may_sign(self, job: StoredJob, queue: str) -> bool:
        """Whether what is signed can be signed anew: else it ends where it is, and `retry` finds it as it was."""
        if self._keys is None:
            return True
        signed = self._keys.can_sign and self._keys.problem(facts_of(job, ("", queue), self._edges(job))) is None
        if not signed:
            logger.warning("job %s of queue %r is no dead letter: it cannot be signed anew", job.job_id, queue)
        return signed

    def signed(self, letter: StoredJob, queue: str) -> StoredJob:
        """Sign what has become of a job."""
        if self._keys is None:
            return letter
        return letter._replace(envelope=self._keys.sign(facts_of(letter, ("", queue), self._edges(letter))))

    def _edges(self, job: StoredJob) -> list[tuple[UUID, int]]:
        if not job.flags & Flag.HAS_DEPENDENCIES or job.job_id is None:
            return []
        return [(dep, mask) for dep, mask, _ in self._tx.all(self._sql.dependencies, p_job_id=job.job_id)]

    def ready(self, queue: int) -> int:
        """How many jobs of a queue are ready."""
        if queue not in self._ready:
            self._ready[queue] = self._tx.all(self._sql.count_ready, p_queue=queue)[0][0]
        return self._ready[queue]

    def targets(self, exchange: str, key: str, death: _Death) -> list[Binding]:
        """The queues that a dead letter goes to."""
        way = (exchange, key if exchange else f"{death.arguments.get(PREFIX, '')}{key}")
        if way not in self._targets:
            self._targets[way] = self._find(*way)
            if not self._targets[way]:
                logger.warning("dead letters of queue %r go nowhere: no queue for %r, %r", death.queue, exchange, key)
        return self._targets[way]

    def _find(self, exchange: str, key: str) -> list[Binding]:
        if exchange:
            found = route(self._tx, self._sql, exchange, key)
            return [] if found is None else found[1]
        rows = self._tx.all(self._sql.queue_facts, p_name=key)
        return [Binding(key, load_arguments(row[-1]), bool(row[2]), row[0]) for row in rows]


def _letters(ways: _Ways, job: StoredJob, death: _Death, found: DeadLetters) -> list[StoredJob]:
    read = _envelope(job)
    envelope = read or {}
    was = _dict(_dict(envelope.get("properties")).get("delivery_info")) or {"exchange": "", "routing_key": death.queue}
    exchange, key = death.arguments["x-dead-letter-exchange"], death.arguments.get("x-dead-letter-routing-key")
    key = str(was.get("routing_key") or "") if key is None else key
    headers = _dict(envelope.get("headers"))
    story = [d for d in _list(headers.get("x-death")) if isinstance(d, dict)]
    targets = [
        target
        for target in ways.targets(exchange, key, death)
        if not _in_circle(target.name, death.reason, story) and not _refuses(ways, target, found)
    ]
    headers["x-death"] = _told(story, death, was)
    for what, value in (("queue", death.queue), ("reason", death.reason), ("exchange", was.get("exchange"))):
        headers.setdefault(f"x-first-death-{what}", value)
        headers[f"x-last-death-{what}"] = value
    headers.pop("x-delay", None)
    gone = ("expiration", "x-delay", "delivery_info")
    properties = {k: v for k, v in _dict(envelope.get("properties")).items() if k not in gone}
    properties["delivery_info"] = {"exchange": exchange, "routing_key": key}
    data = json.dumps({**envelope, "headers": headers, "properties": properties}).encode()
    letters: list[StoredJob] = []
    for target in targets:
        if target.arguments.get("x-max-length") is not None:
            found.bounded[target.number] = target.arguments["x-max-length"]
        letter = _letter(job, target, ways)
        letter = letter._replace(envelope=bare(job.envelope) if read is None else data)
        letter = letter._replace(job_id=new_job_id()) if letters and job.job_id else letter
        letters.append(ways.signed(letter, target.name))
    return letters


def _letter(job: StoredJob, target: Binding, ways: _Ways) -> StoredJob:
    limit, ttl = target.arguments.get("x-delivery-limit"), target.arguments.get("x-message-ttl")
    return job._replace(
        queue_id=target.number,
        rank=max(job.rank, 255 - target.arguments.get("x-max-priority", 255)),
        attempt=0,
        max_attempts=ways.max_attempts if limit is None else limit + 1,
        flags=job.flags & ~Flag.REDELIVERED,
        claimed_at=None,
        expires_at=None if ttl is None else ways.clock + timedelta(milliseconds=ttl),
        run_at=None,
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _envelope(job: StoredJob) -> dict[str, Any] | None:
    if job.envelope is None:
        return {"content_type": "application/json", "content_encoding": "utf-8"}
    try:
        return dict(json.loads(bare(bytes(job.envelope)) or b"{}"))
    except (ValueError, TypeError, RecursionError):  # nobody can read it there either, but it is not lost
        return None


def _in_circle(target: str, reason: str, story: Sequence[Any]) -> bool:
    """Whether it has been there and nobody rejected it since: then it would go round for ever."""
    if reason == "rejected":
        return False
    for death in story:  # the newest first
        if death.get("reason") == "rejected":
            return False
        if death.get("queue") == target:
            return True
    return False


def _refuses(ways: _Ways, target: Binding, found: DeadLetters) -> bool:
    """Whether the queue is full, and takes no more."""
    if target.arguments.get("x-overflow") != "reject-publish" or "x-max-length" not in target.arguments:
        return False
    coming = sum(job.queue_id == target.number for job in found.moved)
    return ways.ready(target.number) + coming >= int(target.arguments["x-max-length"])


def _told(story: Sequence[Any], death: _Death, was: dict[str, Any]) -> list[Any]:
    """The header `x-death` with one more death, the newest first; again of the same is counted."""
    same = [d for d in story if (d.get("queue"), d.get("reason")) == (death.queue, death.reason)]
    now = {
        "queue": death.queue,
        "reason": death.reason,
        "exchange": was.get("exchange"),
        "routing-keys": [was.get("routing_key")],
        "time": time.time(),
        "count": 1 + sum(count if type(count := d.get("count")) is int else 1 for d in same),
    }
    return [now, *(d for d in story if d not in same)]
