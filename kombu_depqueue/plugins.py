"""How adapters join in: a plugin is told what a broker cannot know, such as what a chord is to Celery.

The entry points of the group `kombu_depqueue.plugins` are loaded with the transport, or at
its next connection, as soon as the process has Celery in it; each is a function without arguments that calls
`register`. One that fails is logged, and the transport works without it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from kombu_depqueue.dialects.steps import Claimed
    from kombu_depqueue.messages import MessageQueue

__all__ = ["GROUP", "Plugin", "load", "plugin", "register"]

logger = logging.getLogger("kombu_depqueue")

GROUP = "kombu_depqueue.plugins"


class Plugin(Protocol):
    """What an adapter may know better."""

    def join(self, queue: MessageQueue, claimed: Claimed) -> Claimed | None:
        """A message with the results of its dependencies put in; None: it was dealt with otherwise."""
        ...

    def controls(self, queue: MessageQueue, message: Mapping[str, Any]) -> None:
        """A message to all workers is being published (Celery's remote control)."""
        ...


_plugins: list[Plugin] = []
_loaded = _loading = False
_lock = threading.RLock()


def plugin() -> Plugin | None:
    """The plugin of this process."""
    return _plugins[0] if _plugins else None


def register(one: Plugin) -> None:
    """Have a plugin asked from now on; the first one counts."""
    _plugins.append(one)


def load() -> None:
    """Load the plugins that are installed, once, when Celery is there.

    When it returns they are: of the threads that connect first none may publish what a plugin would have marked.
    """
    if not _loaded and "celery" in sys.modules:
        with _lock:
            _load()


def _load() -> None:
    global _loaded, _loading
    if _loaded or _loading:  # by another thread, or by what is being loaded
        return
    _loading = True
    try:
        for entry in entry_points(group=GROUP):
            try:
                entry.load()()
            except Exception:
                logger.exception("plugin %s could not be loaded; going on without it", entry.name)
        _loaded = True
    finally:
        _loading = False


def _in_child() -> None:
    """Another thread of the parent may have been loading at the fork; it is not here."""
    global _lock, _loading
    _lock, _loading = threading.RLock(), False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
