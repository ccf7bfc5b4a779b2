"""What a fault is to a chaos cell."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Protocol


class Fault(Protocol):
    """One kind of disturbance; `inject` does it once, and blocks while it lasts (seconds)."""

    name: str

    def inject(self, chance: random.Random) -> None: ...


@dataclass
class Scene:
    """A database to be disturbed: the URL for the programs, the URL for the checker (never disturbed by a proxy), and what can be done to it."""

    url: str
    quiet_url: str
    faults: list[Fault] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    """For the programs: a shifted clock, for instance."""
