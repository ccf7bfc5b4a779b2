"""`depends_on` where nobody understands it: publishing fails, with the reason; it is never silently ignored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from kombu_depqueue import InvalidJob

__all__ = ["guard"]

REASON = "depends_on needs a kombu-depqueue broker (depqueue+...); this one would ignore it"


class _Ours:
    """The dependencies in a form that our transport reads, and that no other can write."""

    def __init__(self, given: Any) -> None:
        self.given = given if isinstance(given, Iterable) and not isinstance(given, (str, dict)) else [given]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.given)

    def __repr__(self) -> str:
        return f"<{REASON}>"

    def __json__(self) -> NoReturn:
        raise InvalidJob("depends_on", REASON)


def guard(properties: dict[str, Any], headers: dict[str, Any] | None) -> None:
    """Make a publication with dependencies fail on a broker that is none of ours."""
    given = properties.get("depends_on")
    if given is None or isinstance(given, _Ours):
        return
    properties["depends_on"] = _Ours(given)
    if headers is not None:
        headers["depends_on"] = properties["depends_on"]  # RabbitMQ's client drops properties that AMQP does not know
