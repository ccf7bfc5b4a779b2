"""Chords by gating: the body is a job that depends on the tasks of the header.

It is published before the header, as Celery does it, and so its dependencies are promised:
they may be enqueued later. Any end counts, once, whatever is redelivered. When the body is
delivered, the results of the header are put into its arguments, by whoever fetches it; if a
task of the header has failed, its errbacks are called instead.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from celery import Celery, current_task, states
from celery.canvas import Signature, _chain, maybe_signature
from celery.exceptions import ChordError
from celery.result import AsyncResult, GroupResult
from kombu.compression import decompress
from kombu.serialization import dumps, loads, prepare_accept_content, registry
from kombu.utils.json import dumps as to_json
from kombu.utils.json import loads as from_json

from kombu_depqueue import Policy, extending
from kombu_depqueue_celery.encoding import decode

if TYPE_CHECKING:
    from kombu_depqueue.extending import Claimed, MessageQueue, Outcome, StoredJob

__all__ = ["extend", "ids_in_chain", "join", "mark_awaited", "publish", "read"]

logger = logging.getLogger("kombu_depqueue")

HEADER = "depqueue_chord"
"""The message header of a body: how many dependencies of its own it has before those of the chord, ..."""
PLACE: list[Any] = []
"""Stands where the results will be: Celery checks a task's arguments when it is published."""
RELEASE = "celery.chord_release"
"""The task that applies a body which is no single task."""


def publish(app: Celery, header: GroupResult, body: Signature) -> None:
    """Publish a chord's body, gated by the tasks of the header."""
    gate = _gate(app, body)
    own = list(gate.options.get("depends_on") or [])
    edges = [{"id": i, "policy": Policy.TERMINAL.value} for i in _leaves(header)]
    story = {"own": len(own), "immutable": bool(gate.immutable)}
    gate = gate.clone()
    options = {"depends_on": [*own, *edges], extending.PROMISED: True, extending.JOINS: True}
    gate.options.pop("depends_on", None)
    gate.apply_async((PLACE,), headers={**(gate.options.pop("headers", None) or {}), HEADER: story}, **options)


def _gate(app: Celery, body: Signature) -> Signature:
    """The task that waits for the header: the body, the first task of it, or one that applies it afterwards."""
    first = body.tasks[0] if isinstance(body, _chain) and body.tasks else body
    simple = type(first) is Signature and not isinstance(body, _group_or_chord())
    # A countdown begins at the end of the header.
    if simple and not body.options.get("countdown") and not first.options.get("countdown"):
        return body
    queue = {k: v for k, v in body.options.items() if k in ("queue", "exchange", "routing_key", "priority")}
    options = {**queue, "task_id": _helper_id(body), "link_error": body.options.get("link_error")}
    return app.signature(RELEASE, kwargs={"body": dict(body)}, options={k: v for k, v in options.items() if v})


def _group_or_chord() -> tuple[type, ...]:
    from celery.canvas import _chord, group

    return (_chord, group)


def _helper_id(body: Signature) -> str:
    return f"chord-{body.id or body.options.get('task_id')}"


def release(results: Any, body: Any) -> None:
    """Apply a chord's body with the results of its header (a task of every Celery application)."""
    from celery import current_app

    maybe_signature(body, app=current_app._get_current_object()).delay(results)


def _leaves(result: Any) -> Iterator[str]:
    """The ids of all tasks of a header, in order."""
    for member in result.results:
        if isinstance(member, GroupResult):
            yield from _leaves(member)
        else:
            yield member.id


def extend(app: Celery, queue: MessageQueue, result: AsyncResult) -> None:
    """Let the body of the current task's chord wait for one more task."""
    body = maybe_signature(current_task.request.chord, app=app)
    gate = _gate(app, body)
    first = gate.tasks[0] if isinstance(gate, _chain) else gate
    if not queue.add_dependency(extending.text_id(str(first.id)), extending.text_id(result.id), Policy.TERMINAL):
        raise ChordError(f"the body of the chord does not wait any more: {result.id} comes too late")


def mark_awaited(body: Any, properties: dict[str, Any]) -> None:
    """A task is being published: if it belongs to a chord, its end has to be told."""
    embed = body[2] if isinstance(body, (tuple, list)) and len(body) == 3 else None
    if isinstance(embed, dict) and embed.get("chord"):
        properties[extending.AWAITED] = True


def ids_in_chain(chain: Any) -> Iterator[str]:
    """The ids of the tasks that follow in a chain, as a message has it."""
    for one in chain if isinstance(chain, (list, tuple)) else ():
        if isinstance(one, dict):
            task_id = (one.get("options") or {}).get("task_id")
            if task_id:
                yield str(task_id)
            inner = (one.get("kwargs") or {}).get("body") if one.get("subtask_type") == "chord" else None
            if inner:
                yield from ids_in_chain([inner])


# delivery


def join(app: Celery, queue: MessageQueue, claimed: Claimed) -> Claimed | None:
    """The body with the results of the header in it; None: the header has failed, and so has the body."""
    envelope, (args, kwargs, embed) = read(app, claimed)
    headers = envelope["headers"]
    story = headers.get(HEADER) or {}
    assert claimed.job_id is not None  # noqa: S101 - what has dependencies is tracked
    outcomes = queue.outcomes_of_dependencies(claimed.job_id)[story.get("own", 0) :]
    try:
        results = [_result(app, outcome) for outcome in outcomes]
    except ChordError as error:
        _fail(app, headers, args, kwargs, embed, error)
        return None
    if not story.get("immutable"):
        args = [results, *args[1:]]
    serializer = registry.type_to_name[envelope["content_type"]]
    _, _, data = dumps((args, kwargs, embed), serializer=serializer)
    whole = claimed._replace(body=data.encode() if isinstance(data, str) else bytes(data))
    if headers.pop("compression", None):  # it is not compressed any more
        whole = whole._replace(envelope=to_json(envelope).encode())
    return whole


def read(app: Celery, job: Claimed | StoredJob) -> tuple[dict[str, Any], Any]:
    """Envelope and body of a task's message. Raises what Kombu raises for content that is not accepted."""
    envelope = from_json(bytes(job.envelope or b"{}"))
    content_type, encoding = envelope["content_type"], envelope["content_encoding"]
    compression = (envelope.get("headers") or {}).get("compression")
    data = decompress(bytes(job.body), compression) if compression else bytes(job.body)
    body = data if str(encoding).lower() in ("binary", "ascii-8bit") else data.decode(encoding or "utf-8")
    accept = prepare_accept_content(app.conf.accept_content)
    return envelope, loads(body, content_type, encoding, accept=accept)


def _result(app: Celery, outcome: Outcome) -> Any:
    meta = decode(app.backend, str(outcome.job_id), outcome)
    if meta["status"] == states.SUCCESS:
        return meta["result"]
    problem = meta["result"] if isinstance(meta["result"], Exception) else RuntimeError(meta["status"])
    error = ChordError(f"Dependency {outcome.job_id} raised {problem!r}")
    error.__cause__ = problem
    raise error


def _fail(app: Celery, headers: dict[str, Any], args: Any, kwargs: Any, embed: Any, error: ChordError) -> None:
    """The header has failed: call the body's errbacks, and let it be failed too."""
    if headers["task"] == RELEASE:
        callback = maybe_signature(kwargs["body"], app=app)
        app.backend.chord_error_from_stack(callback, error)
        app.backend.fail_from_current_stack(headers["id"], exc=error)
        return
    options = {
        "task_id": headers["id"],
        "link_error": embed.get("errbacks") or [],
        "chain": embed.get("chain"),
        "chord": embed.get("chord"),
        "group_id": headers.get("group"),
    }
    callback = app.signature(headers["task"], args=args, kwargs=kwargs, options=options)
    app.backend.chord_error_from_stack(callback, error)
