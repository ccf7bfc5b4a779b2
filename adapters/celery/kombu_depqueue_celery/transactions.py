"""Tasks that commit together with the rows they are about."""

from __future__ import annotations

from typing import Any

from celery import states

from kombu_depqueue import InvalidJob, JobState, LeaseLost, enlist, extending
from kombu_depqueue_celery.backend import FOR_EVER, DepQueueBackend
from kombu_depqueue_celery.broker import broker_queue, lease_token
from kombu_depqueue_celery.encoding import encode

__all__ = ["enlist", "finish"]


def finish(request: Any, connection: Any, result: Any = None) -> None:
    """End the task that runs, as succeeded, in the transaction of its own writes.

        @app.task(bind=True, acks_late=True)
        def charge(self, order_id):
            with Session(engine) as session, session.begin():
                session.add(Payment(order_id))
                finish(self.request, session, "paid")

    The writes, the outcome, the result and the release of those that depend on the task are
    committed at once, by the caller's commit: a crash afterwards does not run it again. Fenced
    by the lease token: a worker that was taken for dead, and whose task another has begun,
    commits nothing. What the task returns afterwards is not stored.

    request: the task's `self.request`.
    connection: a SQLAlchemy Session or Connection on the broker's database, in its transaction.
    result: the task's result, for the result serializer of the application.

    Raises: LeaseLost if the task is not this worker's any more; InvalidJob if it does not run
    from this broker at all; kombu's EncodeError if the result cannot be serialized.
    """
    token = lease_token(request)
    task_id = str(getattr(request, "id", "") or "")
    app = getattr(getattr(request, "_task", None), "app", None) or _current_app()
    queue = broker_queue(app)
    if token is None or queue is None:
        raise InvalidJob("request", "the task was not delivered by a kombu-depqueue broker")
    data = meta = keep = None
    backend = app.backend
    if isinstance(backend, DepQueueBackend):
        whole = backend._get_result_meta(backend.encode_result(result, states.SUCCESS), states.SUCCESS, None, request)
        data, meta = encode(backend, whole)
        keep = float(backend.expires or FOR_EVER)
    ending = queue.ending(JobState.SUCCEEDED, result=data, meta=meta, keep=keep)
    if not queue.conclude(extending.text_id(task_id), ending, token=token, connection=connection):
        raise LeaseLost(extending.text_id(task_id), detail="the task is another worker's now, or has ended")


def _current_app() -> Any:
    from celery import current_app

    return current_app._get_current_object()
