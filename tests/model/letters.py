"""The model of what Kombu adds: queues with arguments, exchanges with bindings, dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

from model.jobs import BLOCKED, LEASED, LONG, READY, SCHEDULED, Job, Model

from kombu_depqueue import JobState
from kombu_depqueue.exchanges import topic_matches

__all__ = ["ARGUMENTS", "BINDINGS", "EXCHANGES", "LETTERS", "KombuModel"]

LETTERS = "letters"
TO_LETTERS = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": LETTERS}
ARGUMENTS: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "prio": {"x-max-priority": 3},
    "short": {"x-max-length": 2, **TO_LETTERS},
    "refusing": {"x-max-length": 2, "x-overflow": "reject-publish"},
    "spent": {"x-delivery-limit": 1, "x-dead-letter-exchange": "direct", "x-dead-letter-routing-key": "dead"},
    "ttl": {"x-message-ttl": int(LONG * 1000), **TO_LETTERS},
    "idle": {"x-expires": int(LONG * 1000)},
    LETTERS: {},
}
"""The queues. Messages in `idle`, which may vanish, are no jobs."""
EXCHANGES = {"direct": "direct", "topic": "topic", "fanout": "fanout"}
BINDINGS = [
    *(("direct", key, name) for name in ("plain", "prio", "short") for key in ("k", "l")),
    ("direct", "dead", LETTERS),
    *(("topic", pattern, name) for name in ("plain", "spent", "refusing", "ttl") for pattern in ("a.*", "#", "a.b")),
    *(("fanout", "", name) for name in ("plain", "short", "idle")),
]
"""Exchange, routing key, queue."""


class KombuModel(Model):
    """What both doors should find."""

    def __init__(self) -> None:
        super().__init__()
        self.bindings: set[tuple[str, str, str]] = set()

    def targets(self, exchange: str, key: str) -> list[str]:
        """The queues that a message goes to."""
        if not exchange:
            return [key]
        mine = [(pattern, name) for where, pattern, name in self.bindings if where == exchange]
        if exchange == "topic":
            found = [name for pattern, name in mine if topic_matches(pattern, key)]
        else:
            found = [name for pattern, name in mine if exchange == "fanout" or pattern == key]
        return sorted(set(found))

    def ready(self, name: str) -> list[Job]:
        """The ready messages of a queue, the oldest first."""
        some = [j for j in self.jobs.values() if j.state is READY and j.queue == ("", name) and not j.over]
        return sorted(some, key=lambda j: j.place)

    def new(self, name: str, *, body: str, tracked: bool, spec: Mapping[str, Any]) -> Job:
        """A message as its queue takes it."""
        arguments = ARGUMENTS[name]
        limit = arguments.get("x-delivery-limit")
        return Job(
            id=uuid4(),
            queue=("", name),
            priority=min(spec["priority"], arguments.get("x-max-priority", 255)),
            max_attempts=0 if limit is None else limit + 1,
            deps=[],
            hold=spec["hold"],
            delayed=spec["delayed"],
            can_expire=tracked and (spec["can_expire"] or "x-message-ttl" in arguments),
            tracked=tracked,
            body=body,
        )

    def supersede(self, job: Job, newer: Job) -> None:
        """Another delivery of the same job, as Celery's retries are: it keeps what it waits for, unless it has ended,
        and who waits for it."""
        blocked = job.state is BLOCKED
        for name in ("queue", "priority", "max_attempts", "delayed", "can_expire", "body"):
            setattr(job, name, getattr(newer, name))
        if not job.live:
            job.hold, job.deps = newer.hold, newer.deps
        job.attempt, job.redelivered, job.over, job.out_of_time = 0, False, False, False
        job.token = job.lease = job.result = job.reason = None
        self.touched.add(job.id)
        if not blocked:
            job.unmet = set()
            self.let_go(job)

    def bury(self, jobs: list[Job], state: JobState, reason: str, letter: str) -> None:
        """End jobs, or move them where their queues' dead letters go."""
        left, place = [], self.tick()  # which of several comes first is nobody's business
        for job in jobs:
            arguments = ARGUMENTS.get(job.queue[1], {}) if not job.queue[0] else {}
            exchange = arguments.get("x-dead-letter-exchange")
            goes = [] if exchange is None else self.targets(exchange, arguments["x-dead-letter-routing-key"])
            if goes:
                self._move(job, goes[0], place)
            else:
                left.append(job)
        self.end_all(left, state, reason)

    def _move(self, job: Job, name: str, place: int) -> None:
        job.queue, job.attempt, job.redelivered, job.max_attempts = ("", name), 0, False, 0
        job.can_expire = job.over = job.delayed = False
        job.token = job.lease = None
        self.let_go(job, place)

    def cut(self, name: str) -> None:
        """Keep a queue within its maximal length."""
        most = ARGUMENTS[name].get("x-max-length")
        if most is not None and "x-overflow" not in ARGUMENTS[name]:
            ready = self.ready(name)
            for job in ready[: max(0, len(ready) - most)]:
                self.bury([job], JobState.FAILED, "dead: maxlen", "maxlen")

    def purge(self, name: str) -> int:
        """Remove what nobody holds."""
        some = [j for j in self.jobs.values() if j.queue == ("", name) and j.state in (READY, SCHEDULED, BLOCKED)]
        self.end_all(some, JobState.CANCELED, "purged")
        return len(some)

    def refuses(self, names: Iterable[str]) -> bool:
        """Whether one of the queues has no room for one more."""
        full = (n for n in names if "x-overflow" in ARGUMENTS[n])
        return any(len(self.ready(n)) + 1 > ARGUMENTS[n]["x-max-length"] for n in full)

    def held(self, name: str) -> bool:
        return any(j.state is LEASED and j.queue == ("", name) for j in self.jobs.values())
