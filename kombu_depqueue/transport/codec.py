"""Message <-> job: what Kombu publishes as an Entry, what was claimed as a Message."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from kombu.message import Message as BaseMessage
from kombu.utils.json import JSONEncoder, loads

from kombu_depqueue.dialects.steps import Claimed, Key
from kombu_depqueue.entry import JSON, MAX_DEPENDENCIES, Entry, check_moment, policy_mask
from kombu_depqueue.errors import InvalidJob, QueueClosed, StorageError
from kombu_depqueue.exchanges import Binding
from kombu_depqueue.job import Dependency, OnUnmet, new_job_id
from kombu_depqueue.messages import MessageQueue
from kombu_depqueue.plugins import plugin
from kombu_depqueue.reservation import token_text
from kombu_depqueue.schema import Flag
from kombu_depqueue.settings import Settings
from kombu_depqueue.transport.arguments import milliseconds

__all__ = ["Message", "entry_for", "is_celery_task", "job_id_for", "joined", "text_id"]


logger = logging.getLogger("kombu_depqueue")

PROMISED, JOINS, AWAITED = "x-depqueue-promised", "x-depqueue-joins", "x-depqueue-awaited"
"""Properties with which Celery's chord is published: its body's dependencies are not there yet; their results
are to be put in when it is delivered; of a header task: something depends on it."""
_IN_HEADERS = frozenset(("depends_on", "dependency_policy", "on_unmet"))
_NOT_KEPT = _IN_HEADERS | {"delivery_tag", PROMISED, JOINS, AWAITED}
"""Properties that are for the publication alone."""
_ENCODER = JSONEncoder(check_circular=False, separators=(",", ":"))
"""As `kombu.utils.json.dumps` writes, shorter by a tenth, and in 7 us instead of 12; a circle is a RecursionError."""


def text_id(text: str) -> UUID:
    """The job id for an id that may be no UUID: always the same one."""
    try:
        return UUID(text)
    except ValueError:
        return uuid5(NAMESPACE_URL, f"depqueue:{text}")


def is_celery_task(headers: Mapping[str, Any]) -> bool:
    """Whether a message is a Celery task (protocol 2)."""
    return bool(headers.get("task")) and bool(headers.get("id"))


def job_id_for(headers: Mapping[str, Any]) -> tuple[UUID, bool]:
    """The job id of a message, and whether it supersedes a live job of that id (Celery's retry)."""
    if is_celery_task(headers):
        return text_id(str(headers["id"])), True
    if headers.get("x-job-id"):
        return text_id(str(headers["x-job-id"])), False
    return new_job_id(), False


def entry_for(message: Mapping[str, Any], target: Binding, *, broadcast: bool, settings: Settings) -> Entry:
    """What the store inserts for a message to one queue. Raises InvalidJob."""
    headers, properties = message["headers"], message["properties"]
    arguments, broadcast = target.arguments, broadcast or target.ephemeral
    body = message["body"]
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
    job_id, supersedes = (None, False) if broadcast else job_id_for(headers)
    fresh = not headers.get("x-job-id") or supersedes
    run_at, delay = _due(headers, properties)
    asked = _Asked(headers, properties)
    if "depends_on" in properties:
        headers.pop("depends_on", None)  # the same, where brokers of other kinds would stumble over it
    edges, hold = ([], False) if broadcast else _dependencies(job_id, asked, settings)
    limit = arguments.get("x-delivery-limit")
    return Entry(
        job_id=job_id,
        id_is_new=fresh and not supersedes,
        channel="",
        queue=target.name,
        queue_id=target.number,
        body=data,
        envelope=_envelope(message),
        rank=255 - _priority(properties, arguments),
        max_attempts=settings.max_attempts if limit is None else limit + 1,
        run_at=run_at,
        delay=delay,
        expires_in=_ttl(headers, properties, arguments),
        edges=edges,
        hold=hold,
        promised=bool(asked.get(PROMISED)),
        anew=bool(edges) and bool(asked.get(JOINS)),
        flags=(Flag.JOINS if asked.get(JOINS) else 0) | (Flag.HAS_DEPENDENTS if asked.get(AWAITED) else 0),
        durable=not target.ephemeral,
        supersedes=supersedes,
    )


def _envelope(message: Mapping[str, Any]) -> bytes:
    kept = {k: v for k, v in message["properties"].items() if k not in _NOT_KEPT}
    envelope = {
        "content_type": message["content-type"],
        "content_encoding": message["content-encoding"],
        "headers": message["headers"],
        "properties": kept,
    }
    try:
        return _ENCODER.encode(envelope).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJob("headers", f"JSON cannot hold them: {error}") from None


def _priority(properties: Mapping[str, Any], arguments: Mapping[str, Any]) -> int:
    try:
        priority = int(properties.get("priority") or 0)
    except (TypeError, ValueError, OverflowError):
        raise InvalidJob("priority", f"{properties.get('priority')!r} is no integer") from None
    return max(0, min(priority, arguments.get("x-max-priority", 255)))


def _due(headers: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[datetime | None, float | None]:
    """When the message may be delivered: Celery's `eta`, or `x-delay` in milliseconds."""
    delay = headers.get("x-delay", properties.get("x-delay"))
    seconds = None if delay is None else milliseconds("x-delay", delay)
    eta = headers.get("eta") if is_celery_task(headers) else None
    return (_moment(eta) if eta else None), seconds


def _moment(eta: object) -> datetime:
    try:
        moment = eta if isinstance(eta, datetime) else datetime.fromisoformat(str(eta))
    except ValueError:
        raise InvalidJob("eta", f"{str(eta)[:40]!r} is no ISO 8601 time") from None
    if moment.tzinfo is None:
        # A naive one is in the time zone of the Celery application that will run it.
        celery = sys.modules.get("celery")
        moment = moment.replace(tzinfo=getattr(getattr(celery, "current_app", None), "timezone", None) or UTC)
    return check_moment("eta", moment)


def _ttl(headers: Mapping[str, Any], properties: Mapping[str, Any], arguments: Mapping[str, Any]) -> float | None:
    """Seconds to live. Celery's `expires` is for its worker to judge, so that it can store REVOKED."""
    given = {"x-message-ttl": arguments.get("x-message-ttl")}
    if not is_celery_task(headers):
        given["expiration"] = properties.get("expiration")
    return min((milliseconds(name, t) for name, t in given.items() if t is not None), default=None)


class _Asked:
    """What is said of dependencies: as properties (`apply_async(depends_on=...)`), else as headers."""

    def __init__(self, headers: Mapping[str, Any], properties: Mapping[str, Any]) -> None:
        self._headers, self._properties = headers, properties

    def get(self, name: str) -> Any:
        if name in self._properties:
            return self._properties[name]
        return self._headers.get(name) if name in _IN_HEADERS else None


def _dependencies(job_id: UUID | None, headers: _Asked, settings: Settings) -> tuple[list[tuple[UUID, int]], bool]:
    given = headers.get("depends_on")
    hold = (headers.get("on_unmet") or settings.on_unmet) == OnUnmet.HOLD.value
    if given is None:
        return [], hold
    if isinstance(given, (str, Mapping, UUID, Dependency)) or hasattr(given, "id"):
        given = [given]
    if not isinstance(given, Iterable):
        raise InvalidJob("depends_on", f"a list of job ids is wanted, not {type(given).__name__}")
    default = headers.get("dependency_policy") or settings.dependency_policy
    edges: dict[UUID, int] = {}
    for one in given:
        for dep, policy in _each(one, default):
            if dep == job_id:
                raise InvalidJob("depends_on", f"job {job_id} cannot depend on itself")
            edges.setdefault(dep, policy_mask(policy))
            if len(edges) > MAX_DEPENDENCIES:
                raise InvalidJob("depends_on", f"more than {MAX_DEPENDENCIES:,} dependencies")
    return list(edges.items()), hold


def _each(one: Any, policy: Any) -> Iterator[tuple[UUID, Any]]:
    """A dependency as it may be given: an id, a result object (a group's: each of its own), or one with a policy."""
    if isinstance(one, Dependency):
        one, policy = one.job_id, one.policy or policy
    elif isinstance(one, Mapping):
        one, policy = one.get("id") or getattr(one, "id", None), one.get("policy") or policy
    elif isinstance(one, (list, tuple)) and len(one) == 2:
        one, policy = one[0], one[1] or policy
    members = getattr(one, "results", None)
    if members is not None and not isinstance(one, (str, UUID)):
        for member in members:
            yield from _each(member, policy)
        return
    found = one if isinstance(one, (str, UUID)) else getattr(one, "id", None)
    if not isinstance(found, (str, UUID)) or not found:
        raise InvalidJob("depends_on", f"a job id or result is wanted, not {type(one).__name__}")
    yield text_id(str(found)), policy


def _read(envelope: bytes) -> Any:
    # Kombu's reader asks each object whether it stands for a value of another type, and marks those so.
    return loads(envelope) if b"__type__" in envelope else json.loads(envelope)


CANNOT_JOIN = "the results of its dependencies belong into it, which needs kombu-depqueue-celery"


def joined(queue: MessageQueue, claimed: Claimed) -> Claimed | None:
    """A message with the results of its dependencies in it, if it asks for them; None: it was dealt with otherwise."""
    if not claimed.flags & Flag.JOINS:
        return claimed
    knows = plugin()
    if knows is None:  # dead, and listed: better than a chord's body without the results of its header
        logger.error("job %s cannot be delivered: %s", claimed.job_id, CANNOT_JOIN)
        queue.reject(claimed, why=CANNOT_JOIN)
        return None
    try:
        whole = knows.join(queue, claimed)
    except (StorageError, QueueClosed):
        raise
    except Exception as error:
        logger.exception("job %s cannot be delivered: its dependencies' results cannot be put in", claimed.job_id)
        queue.reject(claimed, why=f"the results of its dependencies cannot be put in ({type(error).__name__})")
        return None
    if whole is None:
        queue.settled([claimed])
    return whole


class Message(BaseMessage):
    """A claimed job as a message."""

    def __init__(self, claimed: Claimed, channel: Any, delivery_tag: int, consumer_tag: str | None, queue: str) -> None:
        self._claimed = claimed
        try:
            envelope = _read(bytes(claimed.envelope)) if claimed.envelope else {}
            properties, headers = dict(envelope.get("properties") or {}), dict(envelope.get("headers") or {})
        except (ValueError, TypeError, AttributeError, RecursionError):
            # Nobody can read it: the consumer's decode error handler rejects it, and goes on.
            envelope, properties, headers = {"content_type": "application/x-undecodable"}, {}, {}
        info = dict(properties.pop("delivery_info", None) or {"exchange": "", "routing_key": queue})
        info.update(
            redelivered=bool(claimed.flags & Flag.REDELIVERED),
            consumer_tag=consumer_tag,
            priority=255 - claimed.rank,
            delivery_count=claimed.attempt - 1,
            job_id=str(claimed.job_id) if claimed.job_id else None,
        )
        if claimed.job_id and headers.get("task"):
            # Celery hands the properties on to the process that runs the task, and may tell the outcome there.
            info["lease_token"] = token_text(Key(claimed.queue_id, claimed.rank, claimed.seq, claimed.token))
        properties["delivery_info"] = info
        properties["delivery_tag"] = delivery_tag
        encoding = envelope.get("content_encoding") or "utf-8"
        body: Any = bytes(claimed.body)
        if not body and str(encoding).lower() not in ("binary", "ascii-8bit"):
            body = ""  # Kombu decodes no empty body
        super().__init__(
            body=body,
            delivery_tag=delivery_tag,
            content_type=envelope.get("content_type") or JSON,
            content_encoding=encoding,
            headers=headers,
            properties=properties,
            delivery_info=info,
            channel=channel,
        )

    def _decode(self) -> Any:
        try:
            return super()._decode()
        except Exception:
            # Celery acks what it cannot read; that is no success.
            self.channel.unreadable(self.delivery_tag)
            raise
