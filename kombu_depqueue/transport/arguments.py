"""The arguments of a queue that mean something here; others are kept, and have no effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kombu_depqueue.entry import check_integer, check_name
from kombu_depqueue.errors import InvalidJob

__all__ = ["checked", "inequivalent", "milliseconds"]

MOST = 10**14
"""Milliseconds, 3,000 years: what may be added to any date of ours and is still one."""


def milliseconds(name: str, value: object) -> float:
    """Seconds, from a number of milliseconds or its text."""
    try:
        given = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise InvalidJob(name, f"{str(value)[:40]!r} is no number of milliseconds") from None
    if not 0 <= given <= MOST:  # also refuses NaN
        raise InvalidJob(name, f"{value!r} milliseconds are not between 0 and {MOST:,}")
    return given / 1000


def _one_of(name: str, value: object, *, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidJob(name, f"{str(value)[:40]!r} is none of {', '.join(known)}")


_CHECKS: Mapping[str, Callable[[str, Any], object]] = {
    "x-message-ttl": partial(check_integer, least=0, most=MOST),
    "x-expires": partial(check_integer, least=1, most=MOST),
    "x-max-length": partial(check_integer, least=0, most=2**31 - 1),
    "x-overflow": partial(_one_of, known=("drop-head", "reject-publish")),
    "x-max-priority": partial(check_integer, least=0, most=255),
    "x-delivery-limit": partial(check_integer, least=-1, most=2**31 - 2),
    "x-dead-letter-exchange": partial(check_name, empty=True),
    "x-dead-letter-routing-key": partial(check_name, empty=True),
}


def checked(arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a queue is declared with. Raises InvalidJob naming the argument: here, or each publish would fail."""
    given = {str(k): v for k, v in (arguments or {}).items() if v is not None}
    for name in _CHECKS.keys() & given.keys():
        _CHECKS[name](name, given[name])
    return given


def inequivalent(declared: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """How the arguments of two declarations differ, in what means something here; None: they do not."""
    different = [name for name in _CHECKS if declared.get(name) != given.get(name)]
    return ", ".join(f"{n} was {declared.get(n)!r}, is {given.get(n)!r}" for n in different) or None
