"""Loaded by Kombu in every process, as an entry point of `kombu.serializers`, whatever the broker.

So that a broker of another kind refuses `depends_on` also where nothing else loads this package. The serializer
is none: without encoder and decoder Kombu registers nothing that could be used. Whatever goes wrong here must not
break `import celery`.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

__all__ = ["connect", "serializer"]

serializer = (None, None, "application/x-depqueue-celery", "utf-8")


def _before_publish(properties: Any = None, headers: Any = None, **kwargs: Any) -> None:
    if properties is not None and "depends_on" in properties:
        from kombu_depqueue_celery.refusal import guard

        guard(properties, headers)


def connect() -> None:
    """Look at whatever Celery publishes."""
    from celery import signals

    signals.before_task_publish.connect(_before_publish, weak=False, dispatch_uid="depqueue-refusal")


with contextlib.suppress(Exception):
    if "celery" in sys.modules:  # else whoever needs it connects it
        connect()
