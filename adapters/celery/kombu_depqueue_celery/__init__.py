"""Celery on kombu-depqueue: dependencies by outcome, results, chords without polling, transactions.

Active as soon as it is installed: the transport loads it in every process that has Celery in
it. What `__all__` names is public; the names are imported when first used, since the `celery`
command imports this package whatever it is to do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kombu_depqueue_celery.dependencies import After, after
    from kombu_depqueue_celery.errors import JobFailed
    from kombu_depqueue_celery.transactions import enlist, finish

_HOME_OF = {
    "After": "dependencies",
    "JobFailed": "errors",
    "after": "dependencies",
    "enlist": "transactions",
    "finish": "transactions",
}

__all__ = ["After", "JobFailed", "after", "enlist", "finish"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
