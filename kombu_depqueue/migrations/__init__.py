"""How the tables come from one schema version to the next, and back: a module for each version.

The rules, so that code of two neighbouring versions can use the tables at the same time:

1. Expand first. What comes is a column that may be NULL, an index, a table; the code works with and
   without it (`Database.works_as`). What is not needed any more stays.
2. Contract later. What version N does without is taken away by version N + 1 at the earliest: code
   of version N - 1, which needs it, cannot be there then.
3. Nothing is renamed, no table is rewritten, no column changes its type.
4. A downgrade takes back what the upgrade brought. What only the newer code knew is lost with it.

`schema.py` shows the tables as the last version has them; new databases get those at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from kombu_depqueue.changes import Change
from kombu_depqueue.migrations import v2
from kombu_depqueue.schema import Tables

__all__ = ["MIGRATIONS", "Migration"]


class Migration(NamedTuple):
    """What leads to a version from the one before, and back: changes in the order in which they are made."""

    version: int
    title: str
    upgrade: Callable[[Tables], Iterable[Change]]
    downgrade: Callable[[Tables], Iterable[Change]]


MIGRATIONS = (Migration(2, v2.TITLE, v2.upgrade, v2.downgrade),)
