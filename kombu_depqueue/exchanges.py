"""Which queues a message goes to: AMQP's exchanges and bindings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from kombu_depqueue.dialects import Tx
from kombu_depqueue.routing import Routing

__all__ = ["Binding", "load_arguments", "route", "topic_matches"]


class Binding(NamedTuple):
    """A queue that a message goes to."""

    name: str
    arguments: dict[str, Any]
    ephemeral: bool
    number: int = 0
    """0: not looked up."""


def load_arguments(text: str | None) -> dict[str, Any]:
    """The arguments that a queue or an exchange was declared with."""
    return dict(json.loads(text)) if text else {}


def route(tx: Tx, sql: Routing, exchange: str, routing_key: str) -> tuple[str, list[Binding]] | None:
    """An exchange's type, and the queues that a message goes to, each once; None: there is no such exchange."""
    rows = tx.all(sql.bindings_of, p_exchange=exchange)
    if not rows:
        return None
    found: dict[int, Binding] = {}
    for kind, key, number, name, arguments, ephemeral in rows:
        if number is not None and number not in found and _routes(kind, key, routing_key):
            found[number] = Binding(name, load_arguments(arguments), bool(ephemeral), number)
    return rows[0][0], list(found.values())


def _routes(kind: str, key: str, routing_key: str) -> bool:
    if kind == "fanout":
        return True
    return topic_matches(key, routing_key) if kind == "topic" else key == routing_key


@lru_cache(maxsize=4096)
def topic_matches(pattern: str, routing_key: str) -> bool:
    """Whether a topic pattern matches: `*` is one word, `#` any number of words (AMQP 0-9-1 §3.1.3.3)."""
    return _match(tuple(pattern.split(".")), tuple(routing_key.split(".")) if routing_key else ())


def _match(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return _match(pattern[1:], words) or (bool(words) and _match(pattern, words[1:]))
    if not words:
        return pattern == ("",)
    return pattern[0] in ("*", words[0]) and _match(pattern[1:], words[1:])
