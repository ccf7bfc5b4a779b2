"""What Celery tells, and whom: loaded by the transport in every process that has Celery in it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from billiard.exceptions import Terminated, WorkerLostError
from celery import signals, states
from celery._state import connect_on_app_finalize
from celery.exceptions import TimeLimitExceeded
from celery.worker.state import successful_requests
from kombu.serialization import loads, prepare_accept_content

from kombu_depqueue import DepQueueError, JobState, extending
from kombu_depqueue_celery import chords, dependencies
from kombu_depqueue_celery.backend import DepQueueBackend, comes_again
from kombu_depqueue_celery.broker import broker_queue, insist, lease_token, tell

if TYPE_CHECKING:
    from kombu_depqueue.extending import Claimed, MessageQueue

__all__ = ["load"]

logger = logging.getLogger("kombu_depqueue")

_KNOWN = {states.SUCCESS: JobState.SUCCEEDED, states.FAILURE: JobState.FAILED}


class CeleryPlugin:
    """Implements `kombu_depqueue.extending.Plugin`."""

    def join(self, queue: MessageQueue, claimed: Claimed) -> Claimed | None:
        """The body of a chord is delivered."""
        return chords.join(_app(), queue, claimed)

    def controls(self, queue: MessageQueue, message: Mapping[str, Any]) -> None:
        """A remote control command is sent: a task that is revoked and not begun is canceled where it waits."""
        try:
            accept = prepare_accept_content(["json", *_app().conf.accept_content])
            command = loads(message["body"], message["content-type"], message["content-encoding"], accept=accept)
            if command.get("method") != "revoke" or command.get("destination"):
                return
            given = command["arguments"]["task_id"]
        except Exception:  # somebody else's message
            return
        for task_id in given if isinstance(given, (list, tuple, set)) else [given]:
            _revoke(queue, str(task_id))


def _revoke(queue: MessageQueue, task_id: str) -> None:
    job = queue.revoke(extending.text_id(task_id), "revoked")
    if job is None:
        return
    try:
        embed = chords.read(_app(), job)[1][2]
    except Exception:  # it cannot be read, and so nothing follows it
        return
    for following in chords.ids_in_chain(embed.get("chain")):
        queue.conclude(extending.text_id(following), queue.ending(JobState.CANCELED, reason="revoked"))


# what comes of tasks, where the result backend does not tell it


def _task_received(request: Any = None, **kwargs: Any) -> None:
    """Celery's acks say that a task was taken, or is over: never how it ended."""
    message = getattr(request, "message", None)
    owe = getattr(getattr(message, "channel", None), "owe", None)
    if owe is None or message is None:
        return
    if message.delivery_info.get("redelivered"):
        # With worker_deduplicate_successful_tasks a task that had succeeded before is not run again, and no signal
        # says so: Celery notes it, and acks.
        owe(message.delivery_tag, lambda: request.task.acks_late and request.id in successful_requests)
    else:
        owe(message.delivery_tag)


def _task_postrun(
    sender: Any = None, task_id: str = "", retval: Any = None, state: str | None = None, **kwargs: Any
) -> None:
    """A task was run here."""
    tells = _tells(sender)
    if tells and state == states.SUCCESS:
        return
    request = sender.request
    token = lease_token(request, task_id)
    if token is None or getattr(request, "is_eager", False):
        return
    if state in _KNOWN:
        if not tells and not (state == states.FAILURE and comes_again(sender, retval)):
            _tell(sender.app, task_id, _KNOWN[state], token, type(retval).__name__ if state == states.FAILURE else None)
            if state == states.FAILURE:
                _fail_rest(sender.app, request, JobState.FAILED)
    elif state == states.IGNORED and str(retval).startswith("Replaced by"):
        _park(sender.app, task_id, token)
    elif state == states.IGNORED:
        _tell(sender.app, task_id, JobState.SUCCEEDED, token)
    elif state == states.REJECTED and not sender.acks_late:
        _tell(sender.app, task_id, JobState.FAILED, token, "rejected")


def _task_failure(sender: Any = None, task_id: str = "", exception: Any = None, **kwargs: Any) -> None:
    """A task failed outside of its own process: no one else tells."""
    lost = isinstance(exception, (WorkerLostError, TimeLimitExceeded, Terminated))
    if lost and not _tells(sender) and not comes_again(sender, exception):
        _tell(sender.app, task_id, JobState.FAILED, None, type(exception).__name__)
        _fail_rest(sender.app, sender.request, JobState.FAILED)


def _task_revoked(sender: Any = None, request: Any = None, expired: bool = False, **kwargs: Any) -> None:
    if not _tells(sender):
        state = JobState.EXPIRED if expired else JobState.CANCELED
        _tell(sender.app, request.id, state, lease_token(request), "expired" if expired else "revoked")
        _fail_rest(sender.app, request, state)


def _tells(task: Any) -> bool:
    """Whether the result backend tells the outcome."""
    backend = task.backend
    return isinstance(backend, DepQueueBackend) and backend.is_brokers


def _tell(app: Any, task_id: str, state: JobState, token: str | None, reason: str | None = None) -> None:
    queue = broker_queue(app)
    if queue is None:
        return
    try:
        tell(queue, extending.text_id(task_id), queue.ending(state, reason=reason), token)
    except DepQueueError as error:
        # Its lease goes on, or it comes again: nothing is lost.
        logger.warning("task %s: its outcome %s could not be told: %s", task_id, state, error)


def _fail_rest(app: Any, request: Any, state: JobState) -> None:
    """What was to follow in a chain never will: a task that was replaced by the chain goes on under one of its ids."""
    for following in chords.ids_in_chain(getattr(request, "chain", None)):
        _tell(app, following, state, None, "what it follows has failed")


def _park(app: Any, task_id: str, token: str) -> None:
    """A task replaced by another goes on under its id, perhaps not at once: at the end of a chain, say."""
    queue = broker_queue(app)
    if queue is not None:
        insist(lambda: queue.park(extending.text_id(task_id), token))


def _before_publish(body: Any = None, properties: Any = None, **kwargs: Any) -> None:
    if properties is not None:
        chords.mark_awaited(body, properties)


def _app() -> Any:
    from celery import current_app

    return current_app._get_current_object()


_loaded = False


def load() -> None:
    """Connect everything, once."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    extending.register(CeleryPlugin())
    dependencies.teach_json()
    connect_on_app_finalize(_add_tasks)
    from celery._state import _get_active_apps

    for app in _get_active_apps():
        if app.finalized:
            _add_tasks(app)
    for signal, receiver in (
        (signals.task_received, _task_received),
        (signals.task_postrun, _task_postrun),
        (signals.task_failure, _task_failure),
        (signals.task_revoked, _task_revoked),
        (signals.before_task_publish, _before_publish),
        (signals.worker_before_create_process, _before_fork),
        (signals.worker_shutdown, _after_shutdown),
    ):
        signal.connect(receiver, weak=False)


def _before_fork(**kwargs: Any) -> None:
    extending.open_pipe()


def _after_shutdown(**kwargs: Any) -> None:
    extending.close_pipe()


def _add_tasks(app: Any) -> None:
    app._task_from_fun(chords.release, name=chords.RELEASE, ignore_result=True, shared=False)
