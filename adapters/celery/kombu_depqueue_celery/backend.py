"""The result backend: a task's result is stored in the record of its job.

What a task came to, its result and the release of those that depend on it are one
transaction, fenced by the lease token: a worker that was taken for dead overwrites nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import Reject, TimeLimitExceeded, TimeoutError
from celery.result import result_from_tuple
from kombu.connection import Connection
from kombu.utils.encoding import bytes_to_str

from kombu_depqueue import JobState, StorageError, extending
from kombu_depqueue_celery import chords
from kombu_depqueue_celery.broker import broker_queue, lease_token, open_queue, same_place, tell
from kombu_depqueue_celery.encoding import END, decode, decode_note, encode, encode_note

if TYPE_CHECKING:
    from kombu_depqueue.extending import MessageQueue

__all__ = ["DepQueueBackend", "comes_again"]

logger = logging.getLogger("kombu_depqueue")

FOR_EVER = 100 * 365 * 86400.0
"""Seconds for which a result is kept that never expires."""
LOOK = 1.0
"""Seconds between looks for results, beside being woken up."""
UNSEEN = 0.05
"""The same while one of the tasks was not published yet, so that its end cannot wake us."""


def comes_again(task: Any, exc: object) -> bool:
    """Whether Celery will reject the message of this failed task: then the broker says what becomes of the job."""
    if not getattr(task, "acks_late", False):
        return False
    if isinstance(exc, Reject):
        return True
    flag = "acks_on_timeout" if isinstance(exc, TimeLimitExceeded) else "acks_on_failure"
    acked = getattr(task, flag, None)  # Celery 5.7; before, one setting for both
    return not (getattr(task, "acks_on_failure_or_timeout", True) if acked is None else acked)


class DepQueueBackend(BaseBackend):
    """`result_backend = "depqueue+postgresql://..."` (or sqlite)."""

    supports_autoexpire = True  # the upkeep of every consumer prunes
    supports_native_join = True

    def __init__(self, app: Any, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app, url=url, **kwargs)
        extending.load()  # a chord's header must be marked when it is published, before there is a connection
        self._full_url = url if url and url.startswith("depqueue") else f"depqueue+{url or 'sqlite:///depqueue.db'}"
        self._here: MessageQueue | None = None
        self._extended = bool(app.conf.find_value_for_key("extended", "result"))
        self._tells_broker: bool | None = None

    @property
    def queue(self) -> MessageQueue:
        """The tables of the results."""
        if self._here is None:
            options = dict(self.app.conf.result_backend_transport_options or {})
            self._here = open_queue(Connection(self._full_url, transport_options=options))
        return self._here

    @property
    def is_brokers(self) -> bool:
        """Whether the results are in the broker's own tables, and so in the records of its jobs."""
        if self._tells_broker is None:
            self._tells_broker = same_place(self.queue, broker_queue(self.app))
        return self._tells_broker

    def as_uri(self, include_password: bool = False) -> str:
        """The URL, fit to be shown."""
        return extending.safe_uri(self._full_url, include_password=include_password, mask="**")

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether to try again (`result_backend_always_retry`)."""
        return isinstance(exc, StorageError)

    def __reduce__(self, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        return super().__reduce__(args, {**(kwargs or {}), "url": self.url})

    # storing

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        """Store a state, and the result that comes with it."""
        failed = state in END and state != states.SUCCESS
        again = failed and comes_again(self._task_of(request), result)
        return super().store_result(task_id, result, state, traceback, request=request, again=again, **kwargs)

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        again: bool = False,
        **kwargs: Any,
    ) -> None:
        meta = self._meta(result, state, traceback, request)
        if state in END and not again:
            self._end(task_id, request, state, *encode(self, meta), self._reason(state, result))
        else:
            self._note(task_id, encode_note(self, meta), request)

    def _meta(self, result: Any, state: str, traceback: Any, request: Any) -> dict[str, Any]:
        """What Celery stores; without the time (5 us), since the record has it."""
        if self._extended or state not in END:
            whole: dict[str, Any] = self._get_result_meta(result, state, traceback, request)
            return whole
        children = self.current_task_children(request)
        meta = {"status": state, "result": result, "traceback": traceback, "children": children}
        if request is not None:
            meta["group_id"], meta["parent_id"] = getattr(request, "group", None), getattr(request, "parent_id", None)
        return meta

    def _reason(self, state: str, result: Any) -> str | None:
        if state == states.SUCCESS:
            return None
        if isinstance(result, dict) and "exc_type" in result:
            return str(result["exc_type"])
        return type(result).__name__ if state == states.FAILURE else "revoked"

    def _end(
        self, task_id: str, request: Any, state: str, result: bytes | None, meta: bytes | None, reason: str | None
    ) -> None:
        keep = float(self.expires) if self.expires else FOR_EVER
        ending = self.queue.ending(END[state], result=result, meta=meta, reason=reason, keep=keep)
        token = lease_token(request, task_id)
        if token is None or not self.is_brokers:
            self.queue.conclude(extending.text_id(task_id), ending)
        elif not tell(self.queue, extending.text_id(task_id), ending, token):
            logger.debug("task %s: the outcome %s comes too late", task_id, state)

    def _note(self, task_id: str, meta: bytes, request: Any) -> None:
        token = lease_token(request, task_id) if self.is_brokers else None
        if not self.queue.note(extending.text_id(task_id), meta, token=token) and token is None:
            self.queue.keep_memo(f"meta:{task_id}", meta, float(self.expires or FOR_EVER))

    def _task_of(self, request: Any) -> Any:
        return self.app.tasks.get(getattr(request, "task", None)) if request is not None else None

    # outcomes

    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, store_result: bool = True, state: str = states.SUCCESS
    ) -> None:
        """A task succeeded."""
        wanted = store_result and not getattr(request, "ignore_result", False)
        if wanted or (request is not None and request.chord):  # a chord's body wants it
            self.store_result(task_id, result, state, request=request)
        else:
            self._outcome(task_id, request, JobState.SUCCEEDED)

    def mark_as_failure(
        self,
        task_id: str,
        exc: Any,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """A task failed."""
        chord = getattr(request, "chord", None)
        super().mark_as_failure(
            task_id, exc, traceback, request, store_result or bool(chord), call_errbacks=call_errbacks, state=state
        )
        if not (store_result or chord) and not comes_again(self._task_of(request), exc):
            self._outcome(task_id, request, JobState.FAILED, type(exc).__name__)
            self._fail_rest(request, type(exc).__name__, state)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """A task was revoked, or came too late."""
        super().mark_as_revoked(task_id, reason, request, store_result, state)
        if not store_result:
            self._outcome(task_id, request, JobState.CANCELED, reason)
        self._fail_rest(request, reason, state)

    def _fail_rest(self, request: Any, reason: str, state: str) -> None:
        """What was to follow in the chain never will: nobody may wait for it."""
        for task_id in chords.ids_in_chain(getattr(request, "chain", None)):
            self.queue.conclude(extending.text_id(task_id), self.queue.ending(END[state], reason=reason or "revoked"))

    def _outcome(self, task_id: str, request: Any, state: JobState, reason: str | None = None) -> None:
        """End the job without a result."""
        token = lease_token(request, task_id)
        if token is not None and self.is_brokers:
            tell(self.queue, extending.text_id(task_id), self.queue.ending(state, reason=reason), token)

    # asking

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        return self._metas([task_id])[task_id]

    def _metas(self, task_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        ids = {extending.text_id(str(i)): str(i) for i in task_ids}
        found = self.queue.outcomes(list(ids)) if ids else {}
        metas = {}
        for job_id, task_id in ids.items():
            meta = decode(self, task_id, found.get(job_id))
            if job_id not in found and (noted := self.queue.memo(f"meta:{task_id}")) is not None:
                meta = decode_note(self, task_id, noted)
            elif job_id not in found:
                meta["unseen"] = True
            metas[task_id] = meta
        return metas

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float | None = 0.5,
        no_ack: bool = True,
        on_interval: Any = None,
    ) -> dict[str, Any]:
        """Wait for the end of a task, and return what is known of it."""
        for _, meta in self.get_many([task_id], timeout=timeout, on_interval=on_interval):
            return meta
        raise TimeoutError("The operation timed out.")

    def get_many(
        self,
        task_ids: Iterable[Any],
        timeout: float | None = None,
        interval: float | None = 0.5,
        no_ack: bool = True,
        on_message: Any = None,
        on_interval: Any = None,
        max_iterations: int | None = None,
        READY_STATES: Any = states.READY_STATES,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield id and meta of each task as it ends: one query for all, and woken up when one has ended."""
        self._ensure_not_eager()
        pending = dict.fromkeys(bytes_to_str(i) for i in task_ids)
        until = None if timeout is None else time.monotonic() + timeout
        ticket, rounds = None, 0
        while pending:
            unseen = False
            for task_id, meta in self._known(pending).items():
                unseen |= meta.get("unseen", False)
                if meta["status"] in READY_STATES:
                    del pending[task_id]
                    if on_message is not None:
                        on_message(meta)
                    yield task_id, meta
            rounds += 1
            if not pending or (max_iterations and rounds >= max_iterations):
                return
            if on_interval is not None:
                on_interval()
            left = LOOK if until is None else until - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"Operation timed out ({timeout})")
            if ticket is not None:  # else look once more, now that we are told
                self.queue.wait_for_end(ticket, min(left, UNSEEN if unseen else LOOK))
            ticket = self.queue.watch([extending.text_id(i) for i in pending])

    def _known(self, task_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What is known of tasks; of those that have succeeded it is remembered."""
        found = {task_id: self._cache[task_id] for task_id in task_ids if task_id in self._cache}
        fresh = self._metas([task_id for task_id in task_ids if task_id not in found]) if task_ids else {}
        for task_id, meta in fresh.items():
            if meta["status"] == states.SUCCESS:
                self._cache[task_id] = meta
        return found | fresh

    # groups

    def _save_group(self, group_id: str, result: Any) -> Any:
        data = self.encode({"result": result.as_tuple()})
        data = data.encode() if isinstance(data, str) else bytes(data)
        self.queue.keep_memo(f"group:{group_id}", data, float(self.expires or FOR_EVER))
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        data = self.queue.memo(f"group:{group_id}")
        if data is None:
            return None
        meta: dict[str, Any] = self.decode(data)
        meta["result"] = result_from_tuple(meta["result"], self.app)
        return meta

    def _delete_group(self, group_id: str) -> None:
        self.queue.drop_memo(f"group:{group_id}")

    # the end

    def _forget(self, task_id: str) -> None:
        self.queue.forget(extending.text_id(task_id))
        self.queue.drop_memo(f"meta:{task_id}")

    def cleanup(self) -> None:
        """Do a round of upkeep, which forgets what has expired."""
        self.queue.maintain()

    # chords

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Publish the body, to run when all tasks of the header have ended."""
        self.ensure_chords_allowed()
        if not self.is_brokers:
            super().apply_chord(header_result_args, body, **kwargs)  # the broker knows no dependencies
            return
        chords.publish(self.app, self.app.GroupResult(*header_result_args), body)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Nothing to do for a task of a header: its end itself counts. What was chained to it has not begun."""
        if lease_token(request) is None and state in states.PROPAGATE_STATES and request.id:
            self.queue.conclude(extending.text_id(request.id), self.queue.ending(END.get(state, JobState.FAILED)))

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Let the body of the current task's chord wait for one more task."""
        chords.extend(self.app, self.queue, result)
