"""Celery's results as a job's record has them, and back.

`result` is the value as JSON, so that native workers can read it; `meta` is what Celery has
beside it (traceback, children, ...), and stays empty for a plain success. With a result
serializer other than JSON all of it is in `meta`, as that serializer wrote it.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from celery import states
from celery.exceptions import TaskRevokedError
from kombu.serialization import loads

from kombu_depqueue import JobState
from kombu_depqueue_celery.errors import JobFailed

if TYPE_CHECKING:
    from kombu_depqueue.extending import Outcome

__all__ = ["END", "decode", "decode_note", "encode", "encode_note"]

JSON = "application/json"

END = {
    states.SUCCESS: JobState.SUCCEEDED,
    states.FAILURE: JobState.FAILED,
    states.REVOKED: JobState.CANCELED,
}
_STATUS = {
    JobState.SUCCEEDED: states.SUCCESS,
    JobState.FAILED: states.FAILURE,
    JobState.CANCELED: states.REVOKED,
    JobState.EXPIRED: states.REVOKED,
}
_PLAIN = frozenset((type(None), bool, int, float, str))
_OF_THE_RECORD = ("status", "result", "date_done")


def encode(backend: Any, meta: dict[str, Any]) -> tuple[bytes | None, bytes | None]:
    """`result` and `meta` of the record of an ended job. Raises kombu's EncodeError for what cannot be serialized."""
    if backend.content_type != JSON:
        return None, _wrapped(backend, meta)
    rest = _filled({k: v for k, v in meta.items() if k not in _OF_THE_RECORD})
    result = meta["result"]
    plain = type(result) in _PLAIN  # what Kombu's encoder has nothing to add to, at a fifth of its time
    data = json.dumps(result).encode() if plain else _bytes(backend.encode(result))
    return data, _bytes(backend.encode(rest)) if rest else None


def encode_note(backend: Any, meta: dict[str, Any]) -> bytes:
    """The same of a job that has not ended: all of it is in `meta`."""
    return _bytes(backend.encode(_filled(meta))) if backend.content_type == JSON else _wrapped(backend, meta)


def _wrapped(backend: Any, meta: dict[str, Any]) -> bytes:
    wrapped = {
        "status": meta["status"],
        "content_type": backend.content_type,
        "content_encoding": backend.content_encoding,
        "body": base64.b64encode(_bytes(backend.encode(meta))).decode(),
    }
    return json.dumps(wrapped).encode()


def _filled(meta: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in meta.items() if v is not None and not (isinstance(v, (list, tuple)) and not v)}


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else bytes(data)


def decode_note(backend: Any, task_id: str, data: bytes) -> dict[str, Any]:
    """What `encode_note` wrote."""
    meta = {"task_id": task_id, "result": None, "traceback": None, "children": [], **_read(backend, data)}
    return backend.meta_from_decoded(meta)


def decode(backend: Any, task_id: str, outcome: Outcome | None) -> dict[str, Any]:
    """The meta that Celery knows. Raises kombu's errors for content that is not accepted or damaged."""
    meta: dict[str, Any] = {"task_id": task_id, "status": states.PENDING, "result": None}
    if outcome is None:
        return meta
    meta |= {"traceback": None, "children": []}
    rest = _read(backend, outcome.meta)
    meta |= rest
    if outcome.state is not None:
        meta["status"] = _STATUS[outcome.state]
        if outcome.result is not None:
            meta["result"] = _loads(backend, outcome.result, JSON, "utf-8")
        elif outcome.state is not JobState.SUCCEEDED and rest.get("status") != meta["status"]:
            meta["result"] = _why(outcome)
        if outcome.finished is not None:
            meta["date_done"] = outcome.finished.isoformat()
    found: dict[str, Any] = backend.meta_from_decoded(meta)
    return found


def _read(backend: Any, data: bytes | None) -> dict[str, Any]:
    if data is None:
        return {}
    rest = _loads(backend, data, JSON, "utf-8")
    if isinstance(rest, dict) and "body" in rest:
        rest = _loads(backend, base64.b64decode(rest["body"]), rest["content_type"], rest["content_encoding"])
    return rest if isinstance(rest, dict) else {}


def _loads(backend: Any, data: bytes, content_type: str, content_encoding: str) -> Any:
    accept = backend.accept if content_type != JSON else None  # JSON is the record's own form
    return loads(data, content_type=content_type, content_encoding=content_encoding, accept=accept)


def _why(outcome: Outcome) -> Exception:
    reason = outcome.reason or (outcome.state or "unknown")
    return JobFailed(reason) if outcome.state is JobState.FAILED else TaskRevokedError(reason)
