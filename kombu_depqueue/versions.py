"""Which schema version the tables have, and whether this library may work with it.

A library works with its own schema version, the one before and the one after, so that
code and tables need not change at the same moment, and code can be rolled back. What the
one after is like it cannot know: the migration that made it says whom it left room for.

These are rows of `meta`:

schema_version    the version; while a migration is under way, the lower of the two
schema_libraries  those that may work with it, by their own schema versions: "1-3"
schema_migrating  the version whose tables may be there in part: a migration is under way, or was cut off
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from kombu_depqueue.errors import SchemaError
from kombu_depqueue.schema import SCHEMA_VERSION

__all__ = ["FACTS", "LIBRARIES", "MIGRATING", "VERSION", "WORKS_WITH", "Facts", "facts_of", "libraries", "refusal"]

VERSION, LIBRARIES, MIGRATING = FACTS = ("schema_version", "schema_libraries", "schema_migrating")

WORKS_WITH = tuple(v for v in range(SCHEMA_VERSION - 1, SCHEMA_VERSION + 2) if v > 0)


class Facts(NamedTuple):
    """What `meta` says."""

    version: int
    oldest: int
    newest: int
    """The libraries that may work with it, by their own schema versions."""
    migrating: int | None

    @property
    def works_as(self) -> int:
        """The version that this library takes it for: nothing is used that came later."""
        return min(self.version, SCHEMA_VERSION)


def libraries(version: int) -> str:
    """Who may work with a version: nothing that the one before needs is ever taken away in one step."""
    return f"{max(version - 1, 1)}-{version + 1}"


def facts_of(rows: Iterable[Any]) -> Facts | None:
    """Read the rows of `meta`; None: there is no version. Raises SchemaError where they make no sense."""
    found = dict(rows)
    try:
        if VERSION not in found:
            return None
        version = int(found[VERSION])
        oldest, newest = found.get(LIBRARIES, libraries(version)).split("-")
        migrating = found.get(MIGRATING)
        return Facts(version, int(oldest), int(newest), None if migrating is None else int(migrating))
    except ValueError as error:
        raise SchemaError("the table of facts is damaged", found=None, wanted=WORKS_WITH) from error


def refusal(facts: Facts) -> SchemaError | None:
    """Why this library must not work with the tables, if so."""
    ours, found = SCHEMA_VERSION, facts.version
    if abs(found - ours) <= 1 and facts.oldest <= ours <= facts.newest:
        return None
    if found > ours:
        age, cure = "newer", "upgrade kombu-depqueue"
    else:
        age, cure = "older", "run `depqueue migrate`"
    problem = f"the tables have schema version {found}, {age} than this library's {ours} can bear: {cure}"
    return SchemaError(problem, found=found, wanted=WORKS_WITH)
