"""A job handed out, and the right to settle it."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any
from uuid import UUID

from kombu_depqueue.dialects.steps import Claimed, Key
from kombu_depqueue.entry import JSON, decode_json
from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.job import DependencyResult, JobMessage
from kombu_depqueue.schema import Flag

if TYPE_CHECKING:
    from kombu_depqueue.queue import JobQueue

__all__ = ["Reservation", "key_of", "token_text"]


def token_text(key: Key) -> str:
    """The lease token as users have it: where the job is, and the secret number."""
    return f"{key.queue_id:x}-{key.rank:x}-{key.seq:x}-{key.token:016x}"


def key_of(token: object) -> Key:
    """Read a lease token. Raises InvalidJob."""
    parts = token.split("-") if isinstance(token, str) and len(token) < 80 else []
    try:
        key = Key(*(int(p, 16) for p in parts))
    except (ValueError, TypeError):
        raise InvalidJob("token", "this is no lease token") from None
    if not all(0 <= n < 1 << 63 for n in key) or key.rank > 255 or key.queue_id >= 1 << 31:
        raise InvalidJob("token", "this is no lease token")
    return key


class Reservation:
    """Implements `ports.Reservation`. Decodes nothing before it is asked for."""

    __slots__ = ("_claimed", "_job_type", "_queue", "channel", "joined", "key", "settled")

    def __init__(self, queue: JobQueue, claimed: Claimed, channel: str, job_type: str) -> None:
        self._queue, self._claimed, self._job_type = queue, claimed, job_type
        self.channel = channel
        self.key = Key(claimed.queue_id, claimed.rank, claimed.seq, claimed.token)
        self.settled = False
        self.joined = False
        """Settled in a transaction of the caller's, which may still be rolled back."""

    def __repr__(self) -> str:
        state = "settled" if self.settled else f"attempt {self.attempt}"
        return f"<Reservation {self._job_type} {self.job_id} {state}>"

    @property
    def job_id(self) -> UUID:
        """The job's id; nil of a message that is no job (one that Kombu sent to several queues)."""
        return self._claimed.job_id or UUID(int=0)

    @property
    def job_type(self) -> str:
        """The queue it came from."""
        return self._job_type

    @property
    def token(self) -> str:
        """The lease token."""
        return token_text(self.key)

    @property
    def attempt(self) -> int:
        """How often the job has been handed out, this time included."""
        return self._claimed.attempt

    @property
    def max_attempts(self) -> int:
        """How often it may be handed out; 0 = unlimited."""
        return self._claimed.max_attempts

    @property
    def redelivered(self) -> bool:
        """Whether a lease on it expired or was given back before."""
        return bool(self._claimed.flags & Flag.REDELIVERED)

    @property
    def has_dependents(self) -> bool:
        """Whether another job was known to depend on it when it was handed out."""
        return bool(self._claimed.flags & Flag.HAS_DEPENDENTS)

    @property
    def body(self) -> bytes:
        """The payload as stored."""
        return bytes(self._claimed.body)

    def _envelope(self) -> dict[str, Any]:
        if self._claimed.envelope is None:
            return {}
        envelope = decode_json("headers", bytes(self._claimed.envelope))
        if not isinstance(envelope, dict):
            raise InvalidJob("headers", "the stored envelope is no JSON object")
        return envelope

    @property
    def content_type(self) -> str:
        """What the body is."""
        return str(self._envelope().get("content_type") or JSON)

    @property
    def headers(self) -> dict[str, Any]:
        """The headers it was enqueued with."""
        headers = self._envelope().get("headers") or {}
        if not isinstance(headers, dict):
            raise InvalidJob("headers", "the stored headers are no JSON object")
        return headers

    @property
    def args(self) -> Any:
        """The JSON value it was enqueued with."""
        if self.content_type != JSON:
            raise InvalidJob("args", f"the body is {self.content_type}, not JSON")
        return decode_json("args", self.body)

    @property
    def message(self) -> JobMessage:
        """The job as it was enqueued."""
        plain = self.content_type == JSON
        run_at = self._claimed.run_at
        return JobMessage(
            self.job_id,
            None if run_at is None else run_at.astimezone(UTC),
            job_type=self._job_type,
            args=self.args if plain else None,
            priority=255 - self._claimed.rank,
            depends_on=self.depends_on,
            max_attempts=self._claimed.max_attempts,
            channel=self.channel,
            body=None if plain else self.body,
            content_type=None if plain else self.content_type,
            headers=self.headers or None,
        )

    @property
    def depends_on(self) -> tuple[UUID, ...]:
        """Its dependencies in the order given."""
        if not self._claimed.flags & Flag.HAS_DEPENDENCIES:
            return ()
        return self._queue.dependencies_of(self.job_id)

    def results_of_dependencies(self) -> list[DependencyResult]:
        """The results of its dependencies, in the order given."""
        return self._queue.results_of_dependencies(self.job_id) if self.depends_on else []

    def ack(self, result: Any = None, *, connection: Any = None) -> None:
        """End the job as succeeded and release its dependents."""
        if not self.settled:
            self._queue.settle_ack(self, result, connection)

    def requeue(self, delay: float = 0.0) -> None:
        """Give the job back, at once or after `delay` seconds."""
        if not self.settled:
            self._queue.settle_requeue(self, delay)

    def fail(self, error: str = "", result: Any = None) -> None:
        """End the job as failed."""
        if not self.settled:
            self._queue.settle_fail(self, error or "failed", result)

    def reject(self, reason: str = "rejected") -> None:
        """End the job as dead at once."""
        if not self.settled:
            self._queue.settle_fail(self, f"dead: {reason}", None)

    def extend(self, seconds: float) -> None:
        """Let the lease last at least `seconds` from now, even if this process dies meanwhile."""
        self._queue.extend_lease(self, seconds)
