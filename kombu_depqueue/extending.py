"""What adapters build on, beside the names of the package itself: the message level, and how to join in.

Public as well: what is here changes with a note in the changelog. Imported when first used, since
the transport loads adapters while it is being imported itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kombu_depqueue.dialects.steps import Claimed, Ending
    from kombu_depqueue.graphs import connected, draw
    from kombu_depqueue.messages import MessageQueue
    from kombu_depqueue.outcomes import Outcome
    from kombu_depqueue.plugins import Plugin, load, register
    from kombu_depqueue.statements import StoredJob
    from kombu_depqueue.transport import close_pipe, conclude, open_pipe, queue_here
    from kombu_depqueue.transport.address import address_of, safe_uri
    from kombu_depqueue.transport.codec import AWAITED, JOINS, PROMISED, text_id

_HOMES = {
    "dialects.steps": "Claimed Ending",
    "graphs": "connected draw",
    "messages": "MessageQueue",
    "outcomes": "Outcome",
    "plugins": "Plugin load register",
    "statements": "StoredJob",
    "transport": "close_pipe conclude open_pipe queue_here",
    "transport.address": "address_of safe_uri",
    "transport.codec": "AWAITED JOINS PROMISED text_id",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AWAITED",
    "JOINS",
    "PROMISED",
    "Claimed",
    "Ending",
    "MessageQueue",
    "Outcome",
    "Plugin",
    "StoredJob",
    "address_of",
    "close_pipe",
    "conclude",
    "connected",
    "draw",
    "load",
    "open_pipe",
    "queue_here",
    "register",
    "safe_uri",
    "text_id",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"kombu_depqueue.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
